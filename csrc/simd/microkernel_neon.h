// The inner loop of microkernel_f32.inl with 64-bit ARM's NEON: up to 4 rows x 16 columns.
//
//   v0 .. v3, v4 .. v7   16 columns of b at k, and at k + 1: one is multiplied while the other is loaded
//   v8 .. v15            eight successive elements of each of four rows, multiplied by lane
//   %[c00] .. %[c33]     16 accumulators                                                       all 32 registers
//
// Eight steps of k are 128 multiply-adds, 8 loads of 64 bytes, 4 of 32 and 9 other instructions: 1.164 per
// multiply-add. llvm-mca predicts 64.0 cycles on Neoverse N1 (Cortex-A76), whose ports need 64, and 128.0 of 128 on
// Cortex-A57 (Cortex-A72). Loads come 12 to 16 multiply-adds before their first use, as in-order processors need.
//
// In LLVM's model of Cortex-A53 results are written in the order of the program. A multiply-add takes ten cycles, so
// an instruction of three, such as the update of a pointer, waits for seven. Most loads of columns therefore do not
// update their pointer, which costs an instruction each; all updates are at the end of a block, beside the loads of
// rows. The model predicts 191 cycles of 128 (with updates in all loads: 243) and 116 of 90 on Cortex-A55.
//
// float16 weights are widened in place: 1.414 instructions per multiply-add, 104 cycles on N1, 176 on A57, 248 on A53.
//
// In assembly, because compilers turn the loads into twice as many instructions, and GCC 12 copies or spills the result
// of a load of four registers. Rejected: 5 x 16 and 6 x 16, which leave no registers to load ahead and split 16 or 32
// rows into fewer whole tiles; 8 x 8, half a panel, which loads twice as many elements of rows, one register at a time;
// loads of 64 bits for the sake of Cortex-A53 (docs/decisions.md).
#ifndef SQZ_SIMD_MICROKERNEL_NEON_H_
#define SQZ_SIMD_MICROKERNEL_NEON_H_

#include <arm_neon.h>

#include "simd/common.h"

namespace sqz {
namespace {

// clang-format off

// Registers: the two sets of columns, E (even k) and O (odd k), and of row i the elements L (k < 4) and H (k >= 4).
#define SQZ_E0 "v0"
#define SQZ_E1 "v1"
#define SQZ_E2 "v2"
#define SQZ_E3 "v3"
#define SQZ_O0 "v4"
#define SQZ_O1 "v5"
#define SQZ_O2 "v6"
#define SQZ_O3 "v7"
#define SQZ_L0 "v8"
#define SQZ_H0 "v9"
#define SQZ_L1 "v10"
#define SQZ_H1 "v11"
#define SQZ_L2 "v12"
#define SQZ_H2 "v13"
#define SQZ_L3 "v14"
#define SQZ_H3 "v15"

// Loads the 16 columns at an address; widens them where they are float16.
#define SQZ_LOAD_F32(B, address) "ld1 {" SQZ_##B##0 ".4s-" SQZ_##B##3 ".4s}, " address "\n\t"
#define SQZ_WIDEN_F32(B)
#define SQZ_LOAD_F16(B, address) "ld1 {" SQZ_##B##0 ".8h-" SQZ_##B##1 ".8h}, " address "\n\t"
#define SQZ_WIDEN_F16(B) \
  "fcvtl  " SQZ_##B##2 ".4s, " SQZ_##B##1 ".4h\n\t" \
  "fcvtl2 " SQZ_##B##3 ".4s, " SQZ_##B##1 ".8h\n\t" \
  "fcvtl2 " SQZ_##B##1 ".4s, " SQZ_##B##0 ".8h\n\t" \
  "fcvtl  " SQZ_##B##0 ".4s, " SQZ_##B##0 ".4h\n\t"

// One step of the rows.
#define SQZ_ROW(i, B, half, lane) \
  "fmla %[c" #i "0].4s, " SQZ_##B##0 ".4s, " SQZ_##half##i ".s[" #lane "]\n\t" \
  "fmla %[c" #i "1].4s, " SQZ_##B##1 ".4s, " SQZ_##half##i ".s[" #lane "]\n\t" \
  "fmla %[c" #i "2].4s, " SQZ_##B##2 ".4s, " SQZ_##half##i ".s[" #lane "]\n\t" \
  "fmla %[c" #i "3].4s, " SQZ_##B##3 ".4s, " SQZ_##half##i ".s[" #lane "]\n\t"
#define SQZ_ROWS_1(B, half, lane) SQZ_ROW(0, B, half, lane)
#define SQZ_ROWS_2(B, half, lane) SQZ_ROWS_1(B, half, lane) SQZ_ROW(1, B, half, lane)
#define SQZ_ROWS_3(B, half, lane) SQZ_ROWS_2(B, half, lane) SQZ_ROW(2, B, half, lane)
#define SQZ_ROWS_4(B, half, lane) SQZ_ROWS_3(B, half, lane) SQZ_ROW(3, B, half, lane)

// For each row: the next eight elements, or one.
#define SQZ_LOAD_ROW(low, high, p) "ldp q" low ", q" high ", [" p "], #32\n\t"
#define SQZ_LOAD_ONE(low, high, p) "ldr s" low ", [" p "], #4\n\t"
#define SQZ_EACH_1(THEN) THEN("8", "9", "%[a]")
#define SQZ_EACH_2(THEN) SQZ_EACH_1(THEN) THEN("10", "11", "x9")
#define SQZ_EACH_3(THEN) SQZ_EACH_2(THEN) THEN("12", "13", "x10")
#define SQZ_EACH_4(THEN) SQZ_EACH_3(THEN) THEN("14", "15", "%[lda]")

// One step, which multiplies B while the columns at an address are loaded to NEXT. The first of a block has its next
// columns in NEXT already, the last of a tile needs none.
#define SQZ_STEP(N, W, B, NEXT, at, half, lane) \
  SQZ_LOAD_##W(NEXT, at) SQZ_ROWS_##N(B, half, lane) SQZ_WIDEN_##W(NEXT)
#define SQZ_SEVEN_STEPS(N, W) \
  SQZ_ROWS_##N(E, L, 0) SQZ_WIDEN_##W(O) \
  SQZ_STEP(N, W, O, E, "[x12]", L, 1) \
  SQZ_STEP(N, W, E, O, "[x11], x15", L, 2) \
  SQZ_STEP(N, W, O, E, "[x13]", L, 3) \
  SQZ_STEP(N, W, E, O, "[x11], x15", H, 0) \
  SQZ_STEP(N, W, O, E, "[x14]", H, 1) \
  SQZ_STEP(N, W, E, O, "[x11]", H, 2)

// Blocks of eight steps, of which the last loads nothing ahead; then single steps. In a block x12, x13 and x14 are at
// its steps 2, 4 and 6, x11 at 3, 5 and 7 in turn, and b at the first step of the next block. x15 is two steps.
// x17 counts up to 0 and is the distance to the end of what is prefetched, at[0] and x16[0].
#define SQZ_TILE(N, W) \
    "lsr x17, %[n], #3\n\t" \
    "cbz x17, 2f\n\t" \
    "and %[n], %[n], #7\n\t" \
    "add x11, %[b], %[step]\n\t" \
    "add x12, %[b], %[step], lsl #1\n\t" \
    "add x13, %[b], %[step], lsl #2\n\t" \
    "add x14, x12, %[step], lsl #2\n\t" \
    "lsl x15, %[step], #1\n\t" \
    "lsl %[step], %[step], #3\n\t" \
    SQZ_LOAD_##W(E, "[%[b]], %[step]") SQZ_EACH_##N(SQZ_LOAD_ROW) SQZ_LOAD_##W(O, "[x11], x15") SQZ_WIDEN_##W(E) \
    "msub x17, x17, %[ahead], %[ahead]\n\t" \
    "cbz x17, 1f\n\t" \
    "sub %[at], %[at], x17\n\t" \
    "add x16, %[at], #64\n" \
  "0:\n\t" \
    SQZ_SEVEN_STEPS(N, W) \
    SQZ_STEP(N, W, O, E, "[%[b]]", H, 3) \
    "prfm pldl1keep, [%[at], x17]\n\t" \
    "prfm pldl1keep, [x16, x17]\n\t" \
    "add x11, x11, x15\n\t" \
    SQZ_EACH_##N(SQZ_LOAD_ROW) \
    "adds x17, x17, %[ahead]\n\t" \
    SQZ_LOAD_##W(O, "[x11], x15") \
    "add x12, x12, %[step]\n\t" \
    "add x13, x13, %[step]\n\t" \
    "add x14, x14, %[step]\n\t" \
    "add %[b], %[b], %[step]\n\t" \
    "b.lt 0b\n" \
  "1:\n\t" \
    SQZ_SEVEN_STEPS(N, W) SQZ_ROWS_##N(O, H, 3) \
    "cbz %[n], 4f\n\t" \
    "lsr %[step], x15, #1\n" \
  "2:\n\t" \
    "cbz %[n], 4f\n" \
  "3:\n\t" \
    SQZ_LOAD_##W(E, "[%[b]], %[step]") SQZ_EACH_##N(SQZ_LOAD_ONE) SQZ_WIDEN_##W(E) \
    "subs %[n], %[n], #1\n\t" \
    SQZ_ROWS_##N(E, L, 0) \
    "b.ne 3b\n" \
  "4:\n\t"

#define SQZ_ZERO(i) \
  "movi %[c" #i "0].4s, #0\n\t" \
  "movi %[c" #i "1].4s, #0\n\t" \
  "movi %[c" #i "2].4s, #0\n\t" \
  "movi %[c" #i "3].4s, #0\n\t"
#define SQZ_SUMS(i) \
  [c##i##0] "=&w"(c##i.a), [c##i##1] "=&w"(c##i.b), [c##i##2] "=&w"(c##i.c), [c##i##3] "=&w"(c##i.d)
#define SQZ_POINTERS \
  [a] "+&r"(a), [b] "+&r"(b), [n] "+&r"(n), [at] "+&r"(at), [lda] "+&r"(lda), [step] "+&r"(step)
#define SQZ_CLOBBERED \
  "cc", "memory", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "v0", "v1", "v2", "v3", "v4", "v5", \
  "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15"
#define SQZ_TILES(W) \
  if constexpr (MR == 1) \
    __asm__(SQZ_ZERO(0) \
            SQZ_TILE(1, W) \
            : SQZ_SUMS(0), SQZ_POINTERS : [ahead] "r"(ahead) : SQZ_CLOBBERED); \
  if constexpr (MR == 2) \
    __asm__(SQZ_ZERO(0) SQZ_ZERO(1) \
            "add x9, %[a], %[lda], lsl #2\n\t" \
            SQZ_TILE(2, W) \
            : SQZ_SUMS(0), SQZ_SUMS(1), SQZ_POINTERS : [ahead] "r"(ahead) : SQZ_CLOBBERED); \
  if constexpr (MR == 3) \
    __asm__(SQZ_ZERO(0) SQZ_ZERO(1) SQZ_ZERO(2) \
            "add x9, %[a], %[lda], lsl #2\n\tadd x10, x9, %[lda], lsl #2\n\t" \
            SQZ_TILE(3, W) \
            : SQZ_SUMS(0), SQZ_SUMS(1), SQZ_SUMS(2), SQZ_POINTERS : [ahead] "r"(ahead) : SQZ_CLOBBERED); \
  if constexpr (MR == 4) \
    __asm__(SQZ_ZERO(0) SQZ_ZERO(1) SQZ_ZERO(2) SQZ_ZERO(3) \
            "add x9, %[a], %[lda], lsl #2\n\t" \
            "add x10, x9, %[lda], lsl #2\n\t" \
            "add %[lda], x10, %[lda], lsl #2\n\t" \
            SQZ_TILE(4, W) \
            : SQZ_SUMS(0), SQZ_SUMS(1), SQZ_SUMS(2), SQZ_SUMS(3), SQZ_POINTERS : [ahead] "r"(ahead) : SQZ_CLOBBERED)

// clang-format on

// The sums of MR rows, `lda` floats apart, over n steps of k, `step` bytes apart in b. Every eight steps prefetch the
// two cache lines at `at` and advance it by `ahead`, which is positive.
template <int MR, class W, class V>
SQZ_INLINE void multiply_neon(int64_t n, const float *a, int64_t lda, const W *b, int64_t step, uintptr_t at,
                              int64_t ahead, V &c0, V &c1, V &c2, V &c3) {
  static_assert(MR >= 1 && MR <= 4, "there are registers for four rows");
  if constexpr (sizeof(W) == 2) {
    SQZ_TILES(F16);
  } else {
    SQZ_TILES(F32);
  }
}

#undef SQZ_E0
#undef SQZ_E1
#undef SQZ_E2
#undef SQZ_E3
#undef SQZ_O0
#undef SQZ_O1
#undef SQZ_O2
#undef SQZ_O3
#undef SQZ_L0
#undef SQZ_H0
#undef SQZ_L1
#undef SQZ_H1
#undef SQZ_L2
#undef SQZ_H2
#undef SQZ_L3
#undef SQZ_H3
#undef SQZ_LOAD_F32
#undef SQZ_WIDEN_F32
#undef SQZ_LOAD_F16
#undef SQZ_WIDEN_F16
#undef SQZ_ROW
#undef SQZ_ROWS_1
#undef SQZ_ROWS_2
#undef SQZ_ROWS_3
#undef SQZ_ROWS_4
#undef SQZ_LOAD_ROW
#undef SQZ_LOAD_ONE
#undef SQZ_EACH_1
#undef SQZ_EACH_2
#undef SQZ_EACH_3
#undef SQZ_EACH_4
#undef SQZ_STEP
#undef SQZ_SEVEN_STEPS
#undef SQZ_TILE
#undef SQZ_ZERO
#undef SQZ_SUMS
#undef SQZ_POINTERS
#undef SQZ_CLOBBERED
#undef SQZ_TILES

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_MICROKERNEL_NEON_H_
