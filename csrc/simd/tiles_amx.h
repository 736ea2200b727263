// Sums of products of bytes on tiles (AMX-INT8), for panels as in microkernel_s8.inl: 16 rows times 16 columns times 64
// bytes in one instruction.
//
//   tile    rows x bytes         holds
//   0 .. 3  rows x 64            sums: tile 2 i + j is that of row tile i and panel j
//   4, 5    rows x 4 depth       bytes of row tiles 0 and 1
//   6, 7    depth x 64           `depth` steps of panels 0 and 1, as they are packed
//
// `rows` is 16 except where there are fewer, and `depth` is 16 except for fewer than 16 steps.
//
// A tile type has the instructions. HardwareTiles is the processor's; tests have one in plain C, which aborts wherever
// the processor would raise an exception and wherever a release is missing, so that the code is tested without AMX.
// Kernels are compiled for SQZ_TILES.
#ifndef SQZ_SIMD_TILES_AMX_H_
#define SQZ_SIMD_TILES_AMX_H_

#include <immintrin.h>
#include <stdint.h>

#include "simd/common.h"

namespace sqz {
namespace {

// The operand of LDTILECFG.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};  // of a row
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64, "as the processor reads it");

// As bytes, since assemblers before binutils 2.36 lack these instructions. The operands are therefore in fixed
// registers. The compiler knows nothing of tiles, so it neither saves nor moves them: no function that might use tiles
// may be called between `configure` and `release`.
struct HardwareTiles {
  // ldtilecfg (%rax); all tiles become zero.
  static SQZ_INLINE void configure(const TileShapes &shapes) {
    __asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0x00" : : "a"(&shapes), "m"(shapes) : "memory");
  }
  // tilerelease
  static SQZ_INLINE void release() { __asm__ volatile(".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0" : : : "memory"); }
  // tilezero %tmmT
  template <int T>
  static SQZ_INLINE void zero() {
    __asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x49, %c0" : : "i"(0xc0 | T << 3) : "memory");
  }
  // tileloadd (%rax,%rcx,1), %tmmT: rows `stride` bytes apart
  template <int T>
  static SQZ_INLINE void load(const void *p, int64_t stride) {
    __asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x4b, %c2, 0x08" : : "a"(p), "c"(stride), "i"(T << 3 | 4) : "memory");
  }
  // tilestored %tmmT, (%rax,%rcx,1)
  template <int T>
  static SQZ_INLINE void store(void *p, int64_t stride) {
    __asm__ volatile(".byte 0xc4, 0xe2, 0x7a, 0x4b, %c2, 0x08" : : "a"(p), "c"(stride), "i"(T << 3 | 4) : "memory");
  }
  // tdpbusd %tmmB, %tmmA, %tmmC: C += A * B, A of unsigned and B of signed bytes
  template <int C, int A, int B>
  static SQZ_INLINE void dot() {
    __asm__ volatile(".byte 0xc4, 0xe2, %c0, 0x5e, %c1" : : "i"((~B & 15) << 3 | 1), "i"(0xc0 | C << 3 | A) : "memory");
  }
};

// Prefetch cursor of a tile's loop: it prefetches `lines` cache lines per product of 16 steps, for L2. From there tiles
// are loaded as fast as from L1.
struct TilesAhead {
  uintptr_t at;
  int64_t lines;

  SQZ_INLINE void fetch() {
    for (int64_t i = 0; i < lines; ++i, at += 64) __builtin_prefetch(reinterpret_cast<const void *>(at), 0, 2);
  }
};

// Tiles configured for blocks of one number of steps, until the end of the object's life. The object belongs to one
// task: none may leave tiles in use, because the operating system would save them at every context switch.
template <class Tiles>
class TileSums {
 public:
  static constexpr int kRows = 16;

  // rows: 1 to 16, the height of each tile. steps: at least 1.
  SQZ_INLINE TileSums(int tile_rows, int64_t all_steps) : rows(tile_rows), steps(all_steps) { configure(); }
  SQZ_INLINE ~TileSums() { Tiles::release(); }
  TileSums(const TileSums &) = delete;
  TileSums &operator=(const TileSums &) = delete;

  // For blocks of another number of steps: configures again if the shapes differ.
  SQZ_INLINE void change_steps(int64_t all_steps) {
    const int64_t depth = min64(16, steps);
    steps = all_steps;
    if (min64(16, steps) == depth) return;
    Tiles::release();
    configure();
  }

  // sums[i][j], with 16 NP columns: row i of `a` times column j of the NP panels at `b`, which are `b_panel` bytes
  // apart. With `second` = 0 there is one row tile. Else a second one begins `second` rows below it, at most `rows`; if
  // fewer, the tiles overlap and compute the rows in both twice. Nothing is read but the 4 steps bytes of these rows
  // and the 64 steps bytes of the panels. Returns the prefetch cursor.
  template <int NP>
  SQZ_INLINE uintptr_t block(const uint8_t *a, int64_t lda, int64_t second, const int8_t *b, int64_t b_panel,
                             int32_t *sums, TilesAhead ahead) const {
    if (second) return multiply<2, NP>(steps, a, lda, second, b, b_panel, sums, ahead, rows);
    return multiply<1, NP>(steps, a, lda, 0, b, b_panel, sums, ahead, rows);
  }

 private:
  __attribute__((noinline)) void configure() const {
    const int depth = static_cast<int>(min64(16, steps));
    TileShapes shapes;
    for (int t = 0; t < 8; ++t) {
      shapes.rows[t] = static_cast<uint8_t>(t < 6 ? rows : depth);
      shapes.bytes[t] = static_cast<uint16_t>(t == 4 || t == 5 ? 4 * depth : 64);
    }
    Tiles::configure(shapes);
  }

  template <int NR, int NP>
  static __attribute__((noinline)) uintptr_t multiply(int64_t steps, const uint8_t *a, int64_t lda, int64_t second,
                                                      const int8_t *b, int64_t b_panel, int32_t *sums, TilesAhead ahead,
                                                      int rows) {
    Tiles::template zero<0>();
    if (NP > 1) Tiles::template zero<1>();
    if (NR > 1) Tiles::template zero<2>();
    if (NR > 1 && NP > 1) Tiles::template zero<3>();
    const int64_t below = second * lda;
    int64_t left = steps;
    do {
      ahead.fetch();
      product<NR, NP>(a, a + below, lda, b, b_panel);
      a += 64, b += 1024;
      left -= 16;
    } while (left >= 16);
    if (left > 0) {
      // The last 16 steps of the panels, and copies of the rows where those that were multiplied already are 0.
      alignas(64) uint8_t last[NR][kRows][64];
      const int64_t back = 16 - left;
      const __mmask16 rest = static_cast<__mmask16>(0xffffu << back);
      copy(a - 4 * back, lda, rows, rest, last[0]);
      if (NR > 1) copy(a - 4 * back + below, lda, rows, rest, last[NR - 1]);
      ahead.fetch();
      product<NR, NP>(last[0][0], last[NR - 1][0], 64, b - 64 * back, b_panel);
    }
    constexpr int64_t kStride = 64 * NP;  // bytes
    Tiles::template store<0>(sums, kStride);
    if (NP > 1) Tiles::template store<1>(sums + 16, kStride);
    if (NR > 1) Tiles::template store<2>(sums + second * 16 * NP, kStride);
    if (NR > 1 && NP > 1) Tiles::template store<3>(sums + second * 16 * NP + 16, kStride);
    return ahead.at;
  }

  template <int NR, int NP>
  static SQZ_INLINE void product(const uint8_t *a0, const uint8_t *a1, int64_t lda, const int8_t *b, int64_t b_panel) {
    Tiles::template load<4>(a0, lda);
    Tiles::template load<6>(b, 64);
    Tiles::template dot<0, 4, 6>();
    if (NP > 1) {
      Tiles::template load<7>(b + b_panel, 64);
      Tiles::template dot<1, 4, 7>();
    }
    if (NR > 1) {
      Tiles::template load<5>(a1, lda);
      Tiles::template dot<2, 5, 6>();
      if (NP > 1) Tiles::template dot<3, 5, 7>();
    }
  }

  static SQZ_INLINE void copy(const uint8_t *a, int64_t lda, int rows, __mmask16 rest, uint8_t (&to)[kRows][64]) {
    for (int i = 0; i < rows; ++i) _mm512_store_si512(to[i], _mm512_maskz_loadu_epi32(rest, a + i * lda));
  }

  int rows;
  int64_t steps;
};

// MR rows of sums as `block` stores them, plus the starts of the NP panels, which lie at their beginning.
template <class S, int MR, int NP>
SQZ_INLINE void load_sums(const int32_t *sums, const uint8_t *panel, int64_t stride, typename S::Sum (&sum)[MR][NP]) {
#pragma GCC unroll 2
  for (int j = 0; j < NP; ++j) {
    const int32_t *first = reinterpret_cast<const int32_t *>(panel + j * stride);
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i) sum[i][j] = S::plus(S::start(sums + (i * NP + j) * 16), first);
  }
}

}  // namespace
}  // namespace sqz

#ifdef SQZ_TILES
#include SQZ_TILES_HEADER
#else
#define SQZ_TILES HardwareTiles
#endif

#endif  // SQZ_SIMD_TILES_AMX_H_
