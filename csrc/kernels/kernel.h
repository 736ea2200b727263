// What an object exports for each of its kernels: the function, its name, and the tile that it was compiled with.
#ifndef SQZ_KERNELS_KERNEL_H_
#define SQZ_KERNELS_KERNEL_H_

namespace sqz {

// What a kernel works on at a time, for people to read. It is made from the constants that the kernel is compiled with.
struct Tile {
  char text[24];
};

template <class Function>
struct Kernel {
  Function run;
  const char *symbol;  // "softmax_f32_avx2"
  Tile tile;
};

}  // namespace sqz

#endif  // SQZ_KERNELS_KERNEL_H_
