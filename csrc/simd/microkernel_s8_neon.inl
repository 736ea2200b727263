// The inner loops of int8 with NEON, for panels as in microkernel_s8.inl. A row's bytes are read 16 at a time, and four
// at a time where fewer than 16 are left: nothing is read beyond a row or a panel.
//
// Sums are named variables, not elements of an array: GCC would store the array in every iteration.
#ifndef SQZ_SIMD_MICROKERNEL_S8_NEON_INL_
#define SQZ_SIMD_MICROKERNEL_S8_NEON_INL_

#include "simd/microkernel_s8.inl"
#include "simd/s8_neon.h"

namespace sqz {
namespace {

// Prefetches two cache lines for `steps` steps of a tile. The tiles of a column take turns, so together they cover all
// lines unless there are only a few tiles.
SQZ_INLINE void fetch(Ahead &ahead, int64_t steps) {
  __builtin_prefetch(reinterpret_cast<const void *>(ahead.at), 0, 3);
  __builtin_prefetch(reinterpret_cast<const void *>(ahead.at + 64), 0, 3);
  ahead.at += static_cast<uintptr_t>(ahead.step * steps);
}

#ifdef __aarch64__

// Four k of eight channels, loaded in program order: GCC and Clang would load earlier, run out of registers and spill.
struct Eight {
  int8x16_t a, b;
};
template <int Offset>
SQZ_INLINE Eight eight(const int8_t *p) {
  Eight r;
  __asm__ volatile("ldp %q0, %q1, [%2, %3]"
                   : "=w"(r.a), "=w"(r.b)
                   : "r"(p), "i"(Offset), "m"(*reinterpret_cast<const int8_t(*)[Offset + 32]>(p)));
  return r;
}

// Plain NEON: smull multiplies 8 bytes to 16 bits, smlal adds the 8 products of the next four k (two of at most
// 127 * 127 fit), and sadalp adds neighbours to 32 bits: 3 instructions for 16 products. A row has two sums per
// channel.
//
// 2 x 16: 16 sums, 4 products, four k of each row for smull and four for smlal, a row's 16 bytes, the constant that
// takes 128 off them, 4 registers for weights on their way: 31 of 32. Instructions stand in the order in which in-order
// processors should run them: a sum is added to its total between the products that follow it, and an iteration loads
// what the next one begins with.
//
// 1.39 instructions per smull, smlal or sadalp. llvm-mca predicts 1.00 of the cycles of their port on Cortex-A57,
// and 1.45 on Cortex-A53, in whose model a load after a vector instruction waits for two cycles.
template <class Tuning>
struct MultiplyS8<S8Neon, Tuning> : S8Neon {
  static constexpr int kTileRows = 2, kTilePanels = 1;

  template <int MR, int NP>
  static SQZ_INLINE void multiply(int64_t steps, const uint8_t *q, int64_t ldq, const int8_t *w, const int32_t *,
                                  int64_t, Sum (&sum)[MR][NP], Ahead ahead) {
    Pairs s0 = no_pairs(), s1 = no_pairs();
    const uint8_t *q1 = MR > 1 ? q + ldq : q;
    if (steps >= 4) {
      Turn<MR> t;
      t.begin(q, q1, w);
      for (; steps >= 8; steps -= 4) {
        fetch(ahead, 4);
        q += 16, q1 += 16;
        t.turn(q, q1, w, w + 256, s0, s1);
        w += 256;
      }
      t.turn(q, q1, w, w, s0, s1);  // loads the same bytes again; there are none ahead
      t.end(s0.d0, s0.d1, s1.d0, s1.d1);
      q += 16, q1 += 16;
      w += 256;
      steps -= 4;
    }
#pragma GCC unroll 1
    for (; steps > 0; --steps) {
      const int8x16_t x0 = four(q), x1 = MR > 1 ? four(q1) : x0;
      four_steps<MR>(w, x0, x1, s0.a0, s0.a1, s1.a0, s1.a1);
      four_steps<MR>(w + 16, x0, x1, s0.b0, s0.b1, s1.b0, s1.b1);
      four_steps<MR>(w + 32, x0, x1, s0.c0, s0.c1, s1.c0, s1.c1);
      four_steps<MR>(w + 48, x0, x1, s0.d0, s0.d1, s1.d0, s1.d1);
      q += 4, q1 += 4;
      w += 64;
    }
    sum[0][0] = add_pairs(s0);
    if constexpr (MR > 1) sum[1][0] = add_pairs(s1);
  }

 private:
  // The overwritten register is an input too ("+"): else GCC takes another register each time, and spills.
  static SQZ_INLINE void mull(int16x8_t &p, int8x16_t w, int8x16_t x) {
    __asm__ volatile("smull %0.8h, %1.8b, %2.8b" : "+w"(p) : "w"(w), "w"(x));
  }
  static SQZ_INLINE void mull2(int16x8_t &p, int8x16_t w, int8x16_t x) {
    __asm__ volatile("smull2 %0.8h, %1.16b, %2.16b" : "+w"(p) : "w"(w), "w"(x));
  }
  static SQZ_INLINE void mlal(int16x8_t &p, int8x16_t w, int8x16_t x) {
    __asm__ volatile("smlal %0.8h, %1.8b, %2.8b" : "+w"(p) : "w"(w), "w"(x));
  }
  static SQZ_INLINE void mlal2(int16x8_t &p, int8x16_t w, int8x16_t x) {
    __asm__ volatile("smlal2 %0.8h, %1.16b, %2.16b" : "+w"(p) : "w"(w), "w"(x));
  }
  static SQZ_INLINE void adalp(int32x4_t &s, int16x8_t p) {
    __asm__ volatile("sadalp %0.4s, %1.8h" : "+w"(s) : "w"(p));
  }
  template <int Offset>
  static SQZ_INLINE void load(int8x16_t &r, const int8_t *p) {
    __asm__ volatile("ldr %q0, [%1, %2]"
                     : "+w"(r)
                     : "r"(p), "i"(Offset), "m"(*reinterpret_cast<const int8_t(*)[Offset + 16]>(p)));
  }
  template <int Lane>
  static SQZ_INLINE void lane(int8x16_t &r, int8x16_t x) {
    __asm__ volatile("dup %0.4s, %1.s[%2]" : "+w"(r) : "w"(x), "i"(Lane));
  }

  template <int K>
  static SQZ_INLINE int8x16_t four_of(int8x16_t x) {
    return vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), K));
  }

  // The state between groups; a group is four channels and eight k.
  template <int MR>
  struct Turn {
    struct Weights {
      int8x16_t v, next;  // of four k, and of the next four
    };
    Weights even, odd;
    int8x16_t rows0, rows1, x0, x1, y0, y1;  // 16 bytes; four, and the next four, each four times
    int16x8_t low0, high0, low1, high1;

    SQZ_INLINE void begin(const uint8_t *q0, const uint8_t *q1, const int8_t *w) {
      even = {vld1q_s8(w), vld1q_s8(w + 64)}, odd = {vld1q_s8(w + 16), vld1q_s8(w + 80)};
      rows0 = sixteen(q0), rows1 = MR > 1 ? sixteen(q1) : rows0;
      x0 = four_of<0>(rows0), y0 = four_of<1>(rows0), x1 = four_of<0>(rows1), y1 = four_of<1>(rows1);
      low0 = high0 = low1 = high1 = vdupq_n_s16(0);
    }
    SQZ_INLINE void load_rows(const uint8_t *q0, const uint8_t *q1) {
      load<0>(rows0, reinterpret_cast<const int8_t *>(q0));
      if (MR > 1) load<0>(rows1, reinterpret_cast<const int8_t *>(q1));
    }
    SQZ_INLINE void sign_rows() {
      rows0 = without_128(vreinterpretq_u8_s8(rows0));
      if (MR > 1) rows1 = without_128(vreinterpretq_u8_s8(rows1));
    }
    // 16 k; loads the next ones from q and `next`.
    SQZ_INLINE void turn(const uint8_t *q0, const uint8_t *q1, const int8_t *w, const int8_t *next, Pairs &s0,
                         Pairs &s1) {
      group<32, -1>(even, w, s0.d0, s0.d1, s1.d0, s1.d1);
      group<48, -1>(odd, w, s0.a0, s0.a1, s1.a0, s1.a1);
      group<128, -1>(even, w, s0.b0, s0.b1, s1.b0, s1.b1);
      group<144, 2>(odd, w, s0.c0, s0.c1, s1.c0, s1.c1);
      load_rows(q0, q1);
      group<160, -1>(even, w, s0.d0, s0.d1, s1.d0, s1.d1);
      group<176, -1>(odd, w, s0.a0, s0.a1, s1.a0, s1.a1);
      sign_rows();
      group<0, -1>(even, next, s0.b0, s0.b1, s1.b0, s1.b1);
      group<16, 0>(odd, next, s0.c0, s0.c1, s1.c0, s1.c1);
    }
    // Adds the previous products to their sums s, multiplies with w, and loads the next w. With Lane >= 0 the group is
    // followed by k from 4 Lane on.
    template <int Offset, int Lane>
    SQZ_INLINE void group(Weights &w, const int8_t *p, int32x4_t &s00, int32x4_t &s01, int32x4_t &s10, int32x4_t &s11) {
      adalp(s00, low0), mull(low0, w.v, x0);
      adalp(s01, high0), mull2(high0, w.v, x0);
      if (MR > 1) {
        adalp(s10, low1), mull(low1, w.v, x1);
        adalp(s11, high1), mull2(high1, w.v, x1);
      }
      if constexpr (Lane >= 0) {
        lane<Lane>(x0, rows0);
        if (MR > 1) lane<Lane>(x1, rows1);
      }
      mlal(low0, w.next, y0), mlal2(high0, w.next, y0);
      load<Offset>(w.v, p);
      if (MR > 1) mlal(low1, w.next, y1), mlal2(high1, w.next, y1);
      load<Offset + 64>(w.next, p);
      if constexpr (Lane >= 0) {
        lane<Lane + 1>(y0, rows0);
        if (MR > 1) lane<Lane + 1>(y1, rows1);
      }
    }
    SQZ_INLINE void end(int32x4_t &s00, int32x4_t &s01, int32x4_t &s10, int32x4_t &s11) {
      adalp(s00, low0), adalp(s01, high0);
      if (MR > 1) adalp(s10, low1), adalp(s11, high1);
    }
  };

  template <int MR>
  static SQZ_INLINE void four_steps(const int8_t *w, int8x16_t x0, int8x16_t x1, int32x4_t &s00, int32x4_t &s01,
                                    int32x4_t &s10, int32x4_t &s11) {
    const int8x16_t v = vld1q_s8(w);
    s00 = vpadalq_s16(s00, vmull_s8(vget_low_s8(v), vget_low_s8(x0)));
    s01 = vpadalq_s16(s01, vmull_high_s8(v, x0));
    if constexpr (MR > 1) {
      s10 = vpadalq_s16(s10, vmull_s8(vget_low_s8(v), vget_low_s8(x1)));
      s11 = vpadalq_s16(s11, vmull_high_s8(v, x1));
    }
  }
};

#else  // 32-bit ARM: the same in 16 registers

// 1 x 16: 8 sums, four k of a row twice and the next four k twice (half registers), 2 products, 4 registers for
// weights: 15 of 16.
template <class Tuning>
struct MultiplyS8<S8Neon, Tuning> : S8Neon {
  static constexpr int kTileRows = 1, kTilePanels = 1;

  template <int MR, int NP>
  static SQZ_INLINE void multiply(int64_t steps64, const uint8_t *q, int64_t, const int8_t *w, const int32_t *, int64_t,
                                  Sum (&sum)[MR][NP], Ahead ahead) {
    Pairs s = no_pairs();
    int steps = static_cast<int>(steps64);
    for (; steps >= 2; steps -= 2) {
      fetch(ahead, 2);
      const int32x2_t x = vreinterpret_s32_u8(veor_u8(vld1_u8(q), vdup_n_u8(128)));
      const int8x8_t x0 = vreinterpret_s8_s32(vdup_lane_s32(x, 0)), x1 = vreinterpret_s8_s32(vdup_lane_s32(x, 1));
      quarter(w, x0, x1, s.a0, s.a1);
      quarter(w + 16, x0, x1, s.b0, s.b1);
      quarter(w + 32, x0, x1, s.c0, s.c1);
      quarter(w + 48, x0, x1, s.d0, s.d1);
      q += 8;
      w += 128;
    }
    if (steps > 0) {
      const int8x8_t x = vget_low_s8(four(q));
      last(w, x, s.a0, s.a1);
      last(w + 16, x, s.b0, s.b1);
      last(w + 32, x, s.c0, s.c1);
      last(w + 48, x, s.d0, s.d1);
    }
    sum[0][0] = add_pairs(s);
  }

 private:
  static SQZ_INLINE void quarter(const int8_t *w, int8x8_t x, int8x8_t y, int32x4_t &low, int32x4_t &high) {
    const int8x16_t v = vld1q_s8(w), next = vld1q_s8(w + 64);
    const int16x8_t p = vmull_s8(vget_low_s8(v), x), q = vmull_s8(vget_high_s8(v), x);
    low = vpadalq_s16(low, vmlal_s8(p, vget_low_s8(next), y));
    high = vpadalq_s16(high, vmlal_s8(q, vget_high_s8(next), y));
  }
  static SQZ_INLINE void last(const int8_t *w, int8x8_t x, int32x4_t &low, int32x4_t &high) {
    const int8x16_t v = vld1q_s8(w);
    low = vpadalq_s16(low, vmull_s8(vget_low_s8(v), x));
    high = vpadalq_s16(high, vmull_s8(vget_high_s8(v), x));
  }
};

#endif

#ifdef __ARM_FEATURE_DOTPROD

// sdot adds four products to each of four sums. All four sums use the same four bytes of a row, one of the four
// quadruples in a register.
//
// 3 x 32: 24 sums, 3 rows' bytes, the constant that takes 128 off them, 4 registers for weights on their way: all 32.
// Taking 128 off a row's bytes is shared by 32 sums; with 6 x 16 it would be by 16. 1.27 instructions per sdot;
// llvm-mca predicts 1.03 of the cycles of sdot alone on Neoverse N1.
struct MultiplyS8Dotprod : S8Neon {
  static constexpr int kTileRows = 3, kTilePanels = 2;

  template <int MR, int NP>
  static SQZ_INLINE void multiply(int64_t steps, const uint8_t *q, int64_t ldq, const int8_t *w, const int32_t *,
                                  int64_t panel, Sum (&sum)[MR][NP], Ahead ahead) {
    Sum s00 = zero(), s10 = zero(), s20 = zero(), s01 = zero(), s11 = zero(), s21 = zero();
    const uint8_t *q1 = MR > 1 ? q + ldq : q, *q2 = MR > 2 ? q + 2 * ldq : q;
    for (int64_t turns = steps >> 3; turns > 0; --turns) {
      fetch(ahead, 8);
      sixteen_steps<MR, NP, 0>(q, q1, q2, w, panel, s00, s10, s20, s01, s11, s21);
      sixteen_steps<MR, NP, 4>(q + 16, q1 + 16, q2 + 16, w, panel, s00, s10, s20, s01, s11, s21);
      q += 32, q1 += 32, q2 += 32;
      w += 512;
    }
    steps &= 7;
    if (steps >= 4) {
      sixteen_steps<MR, NP, 0>(q, q1, q2, w, panel, s00, s10, s20, s01, s11, s21);
      q += 16, q1 += 16, q2 += 16;
      w += 256;
      steps -= 4;
    }
#pragma GCC unroll 1
    for (; steps > 0; --steps) {
      const int8x16_t x0 = four(q), x1 = MR > 1 ? four(q1) : x0, x2 = MR > 2 ? four(q2) : x0;
      Eight low = eight<0>(w), high = eight<32>(w);
      quadruple<MR, NP, 0, 0, false>(low, high, w, w + panel, x0, x1, x2, s00, s10, s20, s01, s11, s21);
      q += 4, q1 += 4, q2 += 4;
      w += 64;
    }
    sum[0][0] = s00;
    if constexpr (MR > 1) sum[1][0] = s10;
    if constexpr (MR > 2) sum[2][0] = s20;
    if constexpr (NP > 1) {
      sum[0][1] = s01;
      if constexpr (MR > 1) sum[1][1] = s11;
      if constexpr (MR > 2) sum[2][1] = s21;
    }
  }

  // Not the intrinsics, and in program order: GCC would load more weights ahead than fit the registers, and spill.
  template <int K>
  static SQZ_INLINE void dot(int32x4_t &s, int8x16_t w, int8x16_t x) {
    __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(s) : "w"(w), "w"(x), "i"(K));
  }

 private:
  // 16 k from 4 At on.
  template <int MR, int NP, int At>
  static SQZ_INLINE void sixteen_steps(const uint8_t *q0, const uint8_t *q1, const uint8_t *q2, const int8_t *w,
                                       int64_t panel, Sum &s00, Sum &s10, Sum &s20, Sum &s01, Sum &s11, Sum &s21) {
    const int8_t *v = w + panel;
    Eight low = eight<64 * At>(w), high = eight<64 * At + 32>(w);
    const int8x16_t x0 = sixteen(q0), x1 = MR > 1 ? sixteen(q1) : x0, x2 = MR > 2 ? sixteen(q2) : x0;
    quadruple<MR, NP, At, 0, true>(low, high, w, v, x0, x1, x2, s00, s10, s20, s01, s11, s21);
    quadruple<MR, NP, At, 1, true>(low, high, w, v, x0, x1, x2, s00, s10, s20, s01, s11, s21);
    quadruple<MR, NP, At, 2, true>(low, high, w, v, x0, x1, x2, s00, s10, s20, s01, s11, s21);
    quadruple<MR, NP, At, 3, false>(low, high, w, v, x0, x1, x2, s00, s10, s20, s01, s11, s21);
  }
  // Adds four k of the panels w and v. Weights are loaded one use ahead, for in-order processors: on entry `low` and
  // `high` hold those of w, on exit those of the next k if there is More.
  template <int MR, int NP, int At, int K, bool More>
  static SQZ_INLINE void quadruple(Eight &low, Eight &high, const int8_t *w, const int8_t *v, int8x16_t x0,
                                   int8x16_t x1, int8x16_t x2, Sum &s00, Sum &s10, Sum &s20, Sum &s01, Sum &s11,
                                   Sum &s21) {
    half<MR, K>(low, x0, x1, x2, s00.a, s00.b, s10.a, s10.b, s20.a, s20.b);
    if (NP > 1) {
      low = eight<64 * (At + K)>(v);
      half<MR, K>(high, x0, x1, x2, s00.c, s00.d, s10.c, s10.d, s20.c, s20.d);
      high = eight<64 * (At + K) + 32>(v);
      half<MR, K>(low, x0, x1, x2, s01.a, s01.b, s11.a, s11.b, s21.a, s21.b);
      if (More) low = eight<64 * (At + K) + 64>(w);
      half<MR, K>(high, x0, x1, x2, s01.c, s01.d, s11.c, s11.d, s21.c, s21.d);
    } else {
      if (More) low = eight<64 * (At + K) + 64>(w);
      half<MR, K>(high, x0, x1, x2, s00.c, s00.d, s10.c, s10.d, s20.c, s20.d);
    }
    if (More) high = eight<64 * (At + K) + 96>(w);
  }
  template <int MR, int K>
  static SQZ_INLINE void half(Eight w, int8x16_t x0, int8x16_t x1, int8x16_t x2, int32x4_t &s0a, int32x4_t &s0b,
                              int32x4_t &s1a, int32x4_t &s1b, int32x4_t &s2a, int32x4_t &s2b) {
    dot<K>(s0a, w.a, x0);
    if (MR > 1) dot<K>(s1a, w.a, x1);
    if (MR > 2) dot<K>(s2a, w.a, x2);
    dot<K>(s0b, w.b, x0);
    if (MR > 1) dot<K>(s1b, w.b, x1);
    if (MR > 2) dot<K>(s2b, w.b, x2);
  }
};

// The same over rows that were rearranged once for many panels: the 128 is taken off, and the 16 bytes of each row of a
// tile at the same k lie one after the other.
//
//   k = 0  [row 0: 16 bytes][row 1] ... [row 5]   k = 16  [row 0] ...   then the next six rows
//
// 6 x 16: 24 sums, 6 rows' bytes, 2 registers for weights: all 32. 1.14 instructions per sdot; llvm-mca predicts 1.00
// of the cycles of sdot alone on Neoverse N1. Rejected: 5 x 16 with weights loaded one use ahead, 1.18 instructions,
// which is 3 % faster in the model of Cortex-A55 only.
struct MultiplyS8DotprodStaged : S8Neon {
  static constexpr int kTileRows = 6;
  // With fewer rows the tile is too low to hide the latency of sdot.
  static constexpr int64_t kLeastRows = 4, kMostIn = 8000, kPanelBytes = 1;

  static int64_t row_bytes(int64_t steps) { return round_up(steps, 4) * 4; }
  static const uint8_t *stage_panel(int64_t, const uint8_t *panel, uint8_t *) { return panel; }

  // Sums start at 0, or at the panel's numbers.
  template <int MR, bool kFirst = false>
  static SQZ_INLINE void multiply(int64_t steps, const uint8_t *q, const int8_t *w, const int32_t *first,
                                  Sum (&sum)[MR][1], Ahead ahead) {
    const int8_t *a = reinterpret_cast<const int8_t *>(q);
    const Sum start = kFirst ? plus(zero(), first) : zero();
    Sums s = {start, start, start, start, start, start};
    for (int64_t turns = steps >> 4; turns > 0; --turns) {
      __builtin_prefetch(reinterpret_cast<const void *>(ahead.at + 128), 0, 3);
      fetch(ahead, 16);
      sixteen_k<MR, 0>(a, w, s);
      sixteen_k<MR, 1>(a, w, s);
      sixteen_k<MR, 2>(a, w, s);
      sixteen_k<MR, 3>(a, w, s);
      a += 64 * MR;
      w += 1024;
    }
    for (int64_t turns = (steps >> 2) & 3; turns > 0; --turns) {
      sixteen_k<MR, 0>(a, w, s);
      a += 16 * MR;
      w += 256;
    }
    if (steps & 3) {
      const Rows x = rows<MR, 0>(a);
      quadruple<MR, 0>(x, w, s);
      if (steps & 2) quadruple<MR, 1>(x, w, s);
      if ((steps & 3) == 3) quadruple<MR, 2>(x, w, s);
    }
    sum[0][0] = s.s0;
    if constexpr (MR > 1) sum[1][0] = s.s1;
    if constexpr (MR > 2) sum[2][0] = s.s2;
    if constexpr (MR > 3) sum[3][0] = s.s3;
    if constexpr (MR > 4) sum[4][0] = s.s4;
    if constexpr (MR > 5) sum[5][0] = s.s5;
  }

  // `count` rows of a tile; the padding of a row to 16 bytes is not multiplied.
  static SQZ_INLINE void stage_rows(int64_t count, int64_t bytes, const uint8_t *q, int64_t ldq, uint8_t *to) {
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t *from = q + i * ldq;
      uint8_t *at = to + 16 * i;
      int64_t k = 0;
      for (; k + 64 <= bytes; k += 64, at += 64 * count) {
        const int8x16_t a = sixteen(from + k), b = sixteen(from + k + 16), c = sixteen(from + k + 32),
                        d = sixteen(from + k + 48);
        vst1q_s8(reinterpret_cast<int8_t *>(at), a);
        vst1q_s8(reinterpret_cast<int8_t *>(at + 16 * count), b);
        vst1q_s8(reinterpret_cast<int8_t *>(at + 32 * count), c);
        vst1q_s8(reinterpret_cast<int8_t *>(at + 48 * count), d);
      }
      for (; k + 16 <= bytes; k += 16, at += 16 * count) vst1q_s8(reinterpret_cast<int8_t *>(at), sixteen(from + k));
      for (; k < bytes; k += 4, at += 4) vst1_s8(reinterpret_cast<int8_t *>(at), vget_low_s8(four(from + k)));
    }
  }

  // Bytes of results x that are computed in this order: 16 k of row i from k = 0 on, and the distance to the next 16
  // with so many rows in a tile. `tile` is where they begin.
  static SQZ_INLINE uint8_t *row_of(uint8_t *tile, int64_t, int i) { return tile + 16 * i; }
  static SQZ_INLINE int64_t next_of(int rows) { return 16 * rows; }
  static SQZ_INLINE void store16(uint8_t *to, Float::V x) { vst1q_u8(to, low_bytes<0>(x)); }

 private:
  struct Sums {
    Sum s0, s1, s2, s3, s4, s5;
  };
  struct Rows {
    int8x16_t x0, x1, x2, x3, x4, x5;
  };

  template <int MR, int At>
  static SQZ_INLINE Rows rows(const int8_t *a) {
    const Eight u = two_rows<MR, At, 0>(a), v = two_rows<MR, At, 2>(a), w = two_rows<MR, At, 4>(a);
    return {u.a, u.b, v.a, v.b, w.a, w.b};
  }
  template <int MR, int At, int I>
  static SQZ_INLINE Eight two_rows(const int8_t *a) {
    constexpr int kAt = 16 * (At * MR + I);
    if constexpr (I + 1 < MR) return eight<kAt>(a);
    const int8x16_t one = I < MR ? vld1q_s8(a + kAt) : vdupq_n_s8(0);
    return {one, one};
  }
  // Adds 16 k from 16 At on.
  template <int MR, int At>
  static SQZ_INLINE void sixteen_k(const int8_t *a, const int8_t *w, Sums &s) {
    const Rows x = rows<MR, At>(a);
    quadruple<MR, 0, At>(x, w, s);
    quadruple<MR, 1, At>(x, w, s);
    quadruple<MR, 2, At>(x, w, s);
    quadruple<MR, 3, At>(x, w, s);
  }
  template <int MR, int K, int At = 0>
  static SQZ_INLINE void quadruple(const Rows &x, const int8_t *w, Sums &s) {
    const Eight low = eight<256 * At + 64 * K>(w);
    quarter<MR, K>(low.a, x, s.s0.a, s.s1.a, s.s2.a, s.s3.a, s.s4.a, s.s5.a);
    quarter<MR, K>(low.b, x, s.s0.b, s.s1.b, s.s2.b, s.s3.b, s.s4.b, s.s5.b);
    const Eight high = eight<256 * At + 64 * K + 32>(w);
    quarter<MR, K>(high.a, x, s.s0.c, s.s1.c, s.s2.c, s.s3.c, s.s4.c, s.s5.c);
    quarter<MR, K>(high.b, x, s.s0.d, s.s1.d, s.s2.d, s.s3.d, s.s4.d, s.s5.d);
  }
  template <int MR, int K>
  static SQZ_INLINE void quarter(int8x16_t w, const Rows &x, int32x4_t &s0, int32x4_t &s1, int32x4_t &s2, int32x4_t &s3,
                                 int32x4_t &s4, int32x4_t &s5) {
    MultiplyS8Dotprod::dot<K>(s0, w, x.x0);
    if (MR > 1) MultiplyS8Dotprod::dot<K>(s1, w, x.x1);
    if (MR > 2) MultiplyS8Dotprod::dot<K>(s2, w, x.x2);
    if (MR > 3) MultiplyS8Dotprod::dot<K>(s3, w, x.x3);
    if (MR > 4) MultiplyS8Dotprod::dot<K>(s4, w, x.x4);
    if (MR > 5) MultiplyS8Dotprod::dot<K>(s5, w, x.x5);
  }
};

#endif

#ifdef __ARM_FEATURE_MATMUL_INT8

// usmmla multiplies 2 rows of 8 unsigned bytes by 2 channels of 8 signed ones: it takes the bytes a + 128 as they are,
// and sums start at the panel's numbers. It wants pairs of rows and of steps, so both sides are rearranged once for
// many tiles (stage_rows, stage_panel): in the loop every shuffle would cost a multiplication.
//
//   rows   k = 0  [row 0: 8 bytes][row 1: 8 bytes]   k = 8  [row 0][row 1] ...   then rows 2 and 3 ...
//   panel  k = 0  [channel 0: 8 bytes][channel 1] ... [channel 15]   k = 8  ...
//
// 6 x 16: 24 sums, 3 pairs of rows, 4 registers for weights on their way: 31 of 32. llvm-mca predicts 1.01 of the
// cycles of usmmla alone on Neoverse N2. Rejected: shuffling in registers, 11 shuffles for 24 usmmla.
struct MultiplyS8I8mm : S8Neon {
  static constexpr int kTileRows = 6;
  // With fewer rows rearranging the panels costs more than it saves.
  static constexpr int64_t kLeastRows = 8, kMostIn = 1024, kPanelBytes = 128 + 16 * kMostIn;

  static int64_t row_bytes(int64_t steps) { return round_up(steps, 2) * 4; }

  template <int MR, bool kFirst = true>
  static SQZ_INLINE void multiply(int64_t steps, const uint8_t *q, const int8_t *w, const int32_t *first,
                                  Sum (&sum)[MR][1], Ahead ahead) {
    static_assert(kFirst, "sums of bytes a + 128 start at the panel's numbers");
    constexpr bool kTwo = MR > 2, kThree = MR > 4;
    Pairs s0, s1, s2;
    s0.a0 = start(first), s0.a1 = start(first + 2), s0.b0 = start(first + 4), s0.b1 = start(first + 6);
    s0.c0 = start(first + 8), s0.c1 = start(first + 10), s0.d0 = start(first + 12), s0.d1 = start(first + 14);
    s1 = s0, s2 = s0;
    const int64_t pair = 2 * row_bytes(steps);
    const uint8_t *q1 = kTwo ? q + pair : q, *q2 = kThree ? q + 2 * pair : q;
    for (int64_t turns = (steps + 1) / 2; turns > 0; --turns) {
      Eight u = eight<0>(w), v = eight<32>(w);
      const uint8x16_t x0 = vld1q_u8(q), x1 = kTwo ? vld1q_u8(q1) : x0, x2 = kThree ? vld1q_u8(q2) : x0;
      fetch(ahead, 2);
      four<MR>(u, x0, x1, x2, s0.a0, s0.a1, s1.a0, s1.a1, s2.a0, s2.a1);
      u = eight<64>(w);
      four<MR>(v, x0, x1, x2, s0.b0, s0.b1, s1.b0, s1.b1, s2.b0, s2.b1);
      v = eight<96>(w);
      four<MR>(u, x0, x1, x2, s0.c0, s0.c1, s1.c0, s1.c1, s2.c0, s2.c1);
      four<MR>(v, x0, x1, x2, s0.d0, s0.d1, s1.d0, s1.d1, s2.d0, s2.d1);
      q += 16, q1 += 16, q2 += 16;
      w += 128;
    }
    sum[0][0] = upper(s0);
    if constexpr (MR > 1) sum[1][0] = lower(s0);
    if constexpr (MR > 2) sum[2][0] = upper(s1);
    if constexpr (MR > 3) sum[3][0] = lower(s1);
    if constexpr (MR > 4) sum[4][0] = upper(s2);
    if constexpr (MR > 5) sum[5][0] = lower(s2);
  }

  // Pairs up `rows` rows of `bytes` bytes, a multiple of 4; an odd last row is its own partner. The padding of a row to
  // 8 bytes is multiplied by weights of zero.
  static SQZ_INLINE void stage_rows(int64_t rows, int64_t bytes, const uint8_t *q, int64_t ldq, uint8_t *to) {
    for (int64_t i = 0; i < rows; i += 2) {
      const uint8_t *a = q + i * ldq, *b = i + 1 < rows ? a + ldq : a;
      int64_t k = 0;
      for (; k + 16 <= bytes; k += 16) {
        const uint64x2_t x = vreinterpretq_u64_u8(vld1q_u8(a + k)), y = vreinterpretq_u64_u8(vld1q_u8(b + k));
        vst1q_u8(to, vreinterpretq_u8_u64(vzip1q_u64(x, y)));
        vst1q_u8(to + 16, vreinterpretq_u8_u64(vzip2q_u64(x, y)));
        to += 32;
      }
      for (; k < bytes; k += 8) {
        const bool whole = k + 8 <= bytes;
        memcpy(to, a + k, 4);
        memcpy(to + 4, a + k + (whole ? 4 : 0), 4);
        memcpy(to + 8, b + k, 4);
        memcpy(to + 12, b + k + (whole ? 4 : 0), 4);
        to += 16;
      }
    }
  }
  // Copies a panel with its head, or leaves it in its place, and turns `steps` steps of four k into steps of eight.
  static SQZ_INLINE const uint8_t *stage_panel(int64_t steps, const uint8_t *panel, uint8_t *to) {
    if (to != panel) memcpy(to, panel, 128);
    const int8_t *w = reinterpret_cast<const int8_t *>(panel) + 128;
    int8_t *at = reinterpret_cast<int8_t *>(to) + 128;
    for (; steps > 0; steps -= 2) {
      int32x4_t x[4], y[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        x[i] = vreinterpretq_s32_s8(vld1q_s8(w + 16 * i));
        y[i] = steps > 1 ? vreinterpretq_s32_s8(vld1q_s8(w + 64 + 16 * i)) : vdupq_n_s32(0);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        vst1q_s8(at + 32 * i, vreinterpretq_s8_s32(vzip1q_s32(x[i], y[i])));
        vst1q_s8(at + 32 * i + 16, vreinterpretq_s8_s32(vzip2q_s32(x[i], y[i])));
      }
      w += 128;
      at += 128;
    }
    return to;
  }

  // Bytes of results x that are computed in this order: 16 k of row i from k = 0 on, and the distance to the next 16.
  // `tile` is where the rows begin, `ld` what row_bytes() says.
  static SQZ_INLINE uint8_t *row_of(uint8_t *tile, int64_t ld, int i) { return tile + (i / 2) * 2 * ld + 8 * (i % 2); }
  static SQZ_INLINE int64_t next_of(int) { return 32; }
  static SQZ_INLINE void store16(uint8_t *to, Float::V x) {
    const uint8x16_t bytes = low_bytes<128>(x);
    vst1_u8(to, vget_low_u8(bytes));
    vst1_u8(to + 16, vget_high_u8(bytes));
  }

 private:
  static SQZ_INLINE int32x4_t start(const int32_t *first) {
    const int32x2_t two = vld1_s32(first);
    return vcombine_s32(two, two);
  }
  // The sums of the first and of the second row of a pair.
  static SQZ_INLINE Sum upper(const Pairs &p) {
    return {low(p.a0, p.a1), low(p.b0, p.b1), low(p.c0, p.c1), low(p.d0, p.d1)};
  }
  static SQZ_INLINE Sum lower(const Pairs &p) {
    return {high(p.a0, p.a1), high(p.b0, p.b1), high(p.c0, p.c1), high(p.d0, p.d1)};
  }
  static SQZ_INLINE int32x4_t low(int32x4_t x, int32x4_t y) { return vcombine_s32(vget_low_s32(x), vget_low_s32(y)); }
  static SQZ_INLINE int32x4_t high(int32x4_t x, int32x4_t y) {
    return vcombine_s32(vget_high_s32(x), vget_high_s32(y));
  }

  template <int MR>
  static SQZ_INLINE void four(Eight w, uint8x16_t x0, uint8x16_t x1, uint8x16_t x2, int32x4_t &s00, int32x4_t &s01,
                              int32x4_t &s10, int32x4_t &s11, int32x4_t &s20, int32x4_t &s21) {
    dot(s00, x0, w.a);
    if (MR > 2) dot(s10, x1, w.a);
    if (MR > 4) dot(s20, x2, w.a);
    dot(s01, x0, w.b);
    if (MR > 2) dot(s11, x1, w.b);
    if (MR > 4) dot(s21, x2, w.b);
  }
  static SQZ_INLINE void dot(int32x4_t &s, uint8x16_t x, int8x16_t w) {
    __asm__ volatile("usmmla %0.4s, %1.16b, %2.16b" : "+w"(s) : "w"(x), "w"(w));
  }
};

#endif

}  // namespace
}  // namespace sqz

#endif  // SQZ_SIMD_MICROKERNEL_S8_NEON_INL_
