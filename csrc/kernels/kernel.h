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

// For sources that are compiled once per ISA, with SQZ_TARGET set to its tag:
#define SQZ_JOIN_(name, isa) name##_##isa
#define SQZ_JOIN(name, isa) SQZ_JOIN_(name, isa)
#define SQZ_SYMBOL(name) SQZ_JOIN(name, SQZ_TARGET)  // layer_norm_f32_avx2
#define SQZ_TEXT_(text) #text
#define SQZ_TEXT(text) SQZ_TEXT_(text)

// Exports the kernel of a row of ops.def: SQZ_KERNEL(layer_norm_f32, function, tile).
#define SQZ_KERNEL(name, function, ...)            \
  extern const Kernel<name##_fn> SQZ_SYMBOL(name); \
  const Kernel<name##_fn> SQZ_SYMBOL(name) = {function, SQZ_TEXT(SQZ_SYMBOL(name)), __VA_ARGS__}

#endif  // SQZ_KERNELS_KERNEL_H_
