// Attention of one head of quantised rows: a block of query rows against all keys. docs/numerics.md has the arithmetic.
//
//   scores         exact sums of products of bytes, times the two rows' scales, plus log2 of the scale of the row of V
//   probabilities  p = 254 * 2^(score - largest score), rounded to bytes; their sum with the scales of V taken out
//   out            exact sums of p v, times the largest scale of V, divided by that sum
//
// The scale of a row of V is in the exponent of its probability, so one scale per row of V serves without a float
// product per element.
//
// K and V are packed to the panels of int8 weights: K with 16 keys, V with 16 channels as the columns. A probability p
// is stored as p + 1, which the loops read as the activation p - 127; 127 times the sum of V makes up for it.
#ifndef SQZ_KERNELS_ATTENTION_ATTENTION_S8_INL_
#define SQZ_KERNELS_ATTENTION_ATTENTION_S8_INL_

#include "kernels/attention/attention.h"
#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/math.h"

namespace sqz {
namespace {

// An inner loop L over rows and panels as they lie.
template <class S, class L>
struct InPlace : L {
  static constexpr bool kRearranged = false;
  // Rows are multiplied as the bytes a + 128: sums of scores start at -128 times those of K.
  static constexpr bool kPlus128 = true;
  // How many times the sum of a column of V sums start at, to make up for probabilities being stored as p + 1; 0: they
  // start as those of activations, and 127 times the sum is added at the end.
  static constexpr int kFirst = 0;
  struct Rows {
    const uint8_t *p;
    int64_t ld;  // to the next row
  };
  static SQZ_INLINE Rows stage(int64_t, int64_t, const uint8_t *q, int64_t ldq, uint8_t *) { return {q, ldq}; }
  static SQZ_INLINE void stage_panel(int64_t, uint8_t *) {}
  // Panels are in L1 or L2: there is nothing to prefetch.
  static SQZ_INLINE NothingAhead ahead(const uint8_t *) { return {}; }

  // Stores results as row i of a tile of `rows` rows that are `ld` bytes apart, kVectors at a time.
  struct Bytes {
    static constexpr int kVectors = 4;
    uint8_t *p;
    SQZ_INLINE Bytes(uint8_t *tile, int64_t ld, int64_t, int i, int) : p(tile + i * ld) {}
    SQZ_INLINE void store(const typename S::Float::V (&x)[4]) {
      S::store_bytes(p, x);
      p += 64;
    }
  };
};

#ifdef __ARM_NEON
SQZ_INLINE Ahead same_again(const uint8_t *panel) { return {reinterpret_cast<uintptr_t>(panel), 0}; }

template <class L>
struct InPlaceNeon : InPlace<S8Neon, L> {
  static constexpr bool kPlus128 = false;
  static SQZ_INLINE Ahead ahead(const uint8_t *panel) { return same_again(panel); }

  struct Bytes {
    static constexpr int kVectors = 1;
    uint8_t *p;
    SQZ_INLINE Bytes(uint8_t *tile, int64_t ld, int64_t, int i, int) : p(tile + i * ld) {}
    SQZ_INLINE void store(const S8Neon::Float::V (&x)[1]) {
      vst1q_u8(p, S8Neon::low_bytes<128>(x[0]));
      p += 16;
    }
  };
};
#endif

#ifdef __ARM_FEATURE_DOTPROD
// One that wants them rearranged, in tiles of rows. Sums start at `First` times the sum of a column.
template <class L, int First>
struct Rearranged : L {
  static constexpr bool kRearranged = true, kPlus128 = First < 0;
  static constexpr int kTilePanels = 1, kFirst = First;
  struct Rows {
    const uint8_t *p;
    int64_t ld;
  };
  static SQZ_INLINE Rows stage(int64_t rows, int64_t steps, const uint8_t *q, int64_t ldq, uint8_t *to) {
    const int64_t ld = L::row_bytes(steps);
    for (int64_t i = 0; i < rows; i += L::kTileRows)
      L::stage_rows(min64(L::kTileRows, rows - i), 4 * steps, q + i * ldq, ldq, to + i * ld);
    return {to, ld};
  }
  static SQZ_INLINE void stage_panel(int64_t steps, uint8_t *panel) { L::stage_panel(steps, panel, panel); }
  static SQZ_INLINE Ahead ahead(const uint8_t *panel) { return same_again(panel); }

  struct Bytes {
    static constexpr int kVectors = 1;
    uint8_t *p;
    int64_t next;
    SQZ_INLINE Bytes(uint8_t *tile, int64_t, int64_t steps, int i, int rows)
        : p(L::row_of(tile, L::row_bytes(steps), i)), next(L::next_of(rows)) {}
    SQZ_INLINE void store(const S8Neon::Float::V (&x)[1]) {
      L::store16(p, x[0]);
      p += next;
    }
  };

  template <int MR, int NP>
  static SQZ_INLINE void multiply(int64_t steps, const uint8_t *q, int64_t, const int8_t *w, const int32_t *first,
                                  int64_t, S8Neon::Sum (&sum)[MR][NP], Ahead ahead) {
    L::template multiply<MR, First != 0>(steps, q, w, first, sum, ahead);
  }
};
#endif

// Tiles of scores and of values, and their inner loops.
template <class S>
struct AttentionS8Tuning {
  static_assert(!__is_base_of(S8Vnni512, S), SQZ_DERIVED_TRAIT);
  using Scores = InPlace<S, MultiplyS8<S, PwconvS8Tuning<S>>>;
  using Values = Scores;
};
#ifdef __ARM_NEON
template <>
struct AttentionS8Tuning<S8Neon> {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  using Scores = Rearranged<MultiplyS8I8mm, -128>;
  using Values = Rearranged<MultiplyS8I8mm, -1>;
#elif defined(__ARM_FEATURE_DOTPROD)
  using Scores = Rearranged<MultiplyS8DotprodStaged, 0>;
  using Values = Rearranged<MultiplyS8DotprodStaged, 127>;
#else
  using Scores = InPlaceNeon<MultiplyS8<S8Neon, PwconvS8Tuning<S8Neon>>>;
  using Values = Scores;
#endif
};
#endif
struct S8Avx2;
template <>
struct AttentionS8Tuning<S8Avx2> {
  using Scores = InPlace<S8Avx2, MultiplyS8<S8Avx2, TileSize<3, 1>>>;  // with four rows Clang spills
  using Values = Scores;
};
template <>
struct AttentionS8Tuning<S8Vnni512> {
  using Scores = InPlace<S8Vnni512, MultiplyS8<S8Vnni512, TileSize<8, 3>>>;
  using Values = InPlace<S8Vnni512, MultiplyS8<S8Vnni512, TileSize<6, 4>>>;
};

template <class S, class Tuning = AttentionS8Tuning<S>>
struct AttentionS8 {
  using I = typename S::Float;
  using V = typename I::V;
  using ScoreLoop = typename Tuning::Scores;
  using ValueLoop = typename Tuning::Values;
  using Bytes = typename ValueLoop::Bytes;
  static constexpr int64_t kHead = PackedS8::kHead;
  static constexpr float kExcluded = -3e38f;

  struct Scratch {
    uint8_t *k, *v;  // panels
    float *l, *r;    // log2 of the scales of V over the largest, and their inverses
    float *scores;
    uint8_t *p, *q;                                 // probabilities, and rearranged queries
    int64_t k_stride, v_stride, columns, lds, ldp;  // strides of panels, keys in multiples of 16, strides of rows
    float top;                                      // the largest scale of V

    SQZ_INLINE explicit Scratch(const AttentionHeadS8 &h) {
      k_stride = h.k_panel(h.head_size), v_stride = h.v_panel(h.keys), columns = h.key_columns(h.keys);
      lds = h.lds_scores(h.keys), ldp = h.ldp(h.keys);
      k = reinterpret_cast<uint8_t *>(h.scratch);
      v = k + columns / 16 * k_stride;
      l = reinterpret_cast<float *>(v + (h.head_size + 15) / 16 * v_stride);
      r = l + columns;
      scores = r + columns;
      p = reinterpret_cast<uint8_t *>(scores + kAttentionS8MaxRows * lds);
      q = p + kAttentionS8MaxRows * ldp;
    }
  };

  // Sums as floats of I; on 32-bit ARM, the epilogue has another type.
  static SQZ_INLINE V to_floats(typename S::Sum sum) {
    if constexpr (__is_same(I, typename S::Epilogue)) {
      return S::to_float(sum);
    } else {
      return S::to_vector(sum);
    }
  }

  static SQZ_INLINE void store_times(int32_t *to, typename S::Sum sum, int32_t factor) {
    S::store_sum(to, sum);
    for (int i = 0; i < 16; ++i)
      to[i] = static_cast<int32_t>(static_cast<uint32_t>(to[i]) * static_cast<uint32_t>(factor));
  }

  // A panel of 16 keys. Keys beyond the last repeat it.
  static SQZ_INLINE void pack_keys(const AttentionHeadS8 &h, int64_t key, uint8_t *panel) {
    const int64_t width = QuantizeRows::width(h.head_size);
    int8_t *to = reinterpret_cast<int8_t *>(panel) + kHead;
    const int32_t none[16] = {0};
    typename S::Sum sum = S::start(none);
    const uint8_t *rows[16];
    for (int i = 0; i < 16; ++i) rows[i] = h.k + min64(key + i, h.keys - 1) * h.ldk;
    int64_t d = 0;
    for (; d + 16 <= width; d += 16) {
      sum = S::transpose_words(rows, to, sum);
      for (int i = 0; i < 16; ++i) rows[i] += 16;
      to += 256;
    }
    for (; d < width; d += 4) {
      for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 4; ++j) to[4 * i + j] = static_cast<int8_t>(rows[i][j] - 128);
        rows[i] += 4;
      }
      sum = S::add_weights(sum, to);
      to += 64;
    }
    if constexpr (ScoreLoop::kPlus128) store_times(reinterpret_cast<int32_t *>(panel), sum, -128);
    ScoreLoop::stage_panel(width / 4, panel);
  }

  // A panel of 16 channels, or what is left of them.
  static SQZ_INLINE void pack_values(const AttentionHeadS8 &h, int64_t channel, uint8_t *panel) {
    const int64_t columns = h.key_columns(h.keys), count = min64(16, h.head_size - channel);
    int8_t *to = reinterpret_cast<int8_t *>(panel) + kHead;
    const int32_t none[16] = {0};
    typename S::Sum sum = S::start(none);
    const uint8_t *rows[4] = {h.v + channel, h.v + channel + h.ldv, h.v + channel + 2 * h.ldv,
                              h.v + channel + 3 * h.ldv};
    int64_t key = 0;
    if (count == 16) {
      for (; key + 4 <= h.keys; key += 4, to += 64) {
        sum = S::interleave(rows, to, sum);
        for (int i = 0; i < 4; ++i) rows[i] += 4 * h.ldv;
      }
    }
    for (; key < columns; key += 4, to += 64) {
      uint8_t part[4][16];
      memset(part, 128, sizeof part);
      for (int i = 0; i < 4; ++i) {
        if (key + i < h.keys) memcpy(part[i], h.v + (key + i) * h.ldv + channel, static_cast<size_t>(count));
        rows[i] = part[i];
      }
      sum = S::interleave(rows, to, sum);
    }
    if constexpr (ValueLoop::kFirst) {
      store_times(reinterpret_cast<int32_t *>(panel), sum, ValueLoop::kFirst);
    } else {
      store_times(reinterpret_cast<int32_t *>(panel), sum, -128);
      store_times(reinterpret_cast<int32_t *>(panel) + 16, sum, 127);
    }
    ValueLoop::stage_panel(columns / 4, panel);
  }

  static SQZ_INLINE bool kept(const AttentionHeadS8 &h, int64_t key) { return !h.mask || h.mask[key]; }

  // The scales of the keys; false if all keys are excluded.
  static SQZ_INLINE bool prepare_scales(const AttentionHeadS8 &h, Scratch &s) {
    bool any = false;
    float top = 0x1p-108f;
    for (int64_t key = 0; key < h.keys; ++key) {
      if (!kept(h, key)) continue;
      const float scale = h.v_scales[key * h.lds];
      top = top < scale ? scale : top;
      any = true;
    }
    if (!any) return false;
    s.top = top;
    for (int64_t key = 0; key < s.columns; key += 16) {
      float x[16], k[16], n[16], z[16];
      for (int i = 0; i < 16; ++i) {
        const bool keep = key + i < h.keys && kept(h, key + i);
        k[i] = keep ? h.k_scales[(key + i) * h.lds] : 0.0f;
        x[i] = keep ? h.v_scales[(key + i) * h.lds] : 0.0f;
      }
      const V ratio = I::max(I::set1(0x1p-60f), I::div(I::load(x), I::set1(top)));
      I::store(x, ratio);
      for (int i = 0; i < 16; ++i) {
        // x = 2^n (1 + z), with 1 + z in [0.75, 1.5): the exponent of x / 0.75
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        const uint32_t exponent = (bits - 0x3f400000u) & 0xff800000u;
        bits -= exponent;
        memcpy(z + i, &bits, 4);
        n[i] = static_cast<float>(static_cast<int32_t>(exponent) >> 23);
      }
      V l = Math<I>::log2(I::load(n), I::sub(I::load(z), I::set1(1.0f))), r = I::div(I::set1(1.0f), ratio);
      if (h.mask || key + 16 > h.keys) {
        float keep[16];
        for (int i = 0; i < 16; ++i) keep[i] = key + i < h.keys && kept(h, key + i) ? 1.0f : 0.0f;
        const typename I::M m = I::lt(I::zero(), I::load(keep));
        l = I::select(m, l, I::set1(kExcluded));
        r = I::select(m, r, I::zero());
      }
      I::store(s.l + key, l);
      I::store(s.r + key, r);
      memcpy(s.k + key / 16 * s.k_stride + 64, k, sizeof k);
    }
    return true;
  }

  // Sums of MR queries and NP panels of keys to scores.
  template <int MR, int NP>
  static SQZ_INLINE void finish_scores(const typename S::Sum (&sum)[MR][NP], const uint8_t *panel, int64_t stride,
                                       const float *factors, const float *l, float *to, int64_t ldt) {
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) {
      const V k = I::load(reinterpret_cast<const float *>(panel + j * stride + 64));
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
        const V added = I::load_addend(l + 16 * j);
        I::store(to + i * ldt + 16 * j, I::fma(I::mul(to_floats(sum[i][j]), k), I::set1(factors[i]), added));
      }
    }
  }

  // Sums of MR queries and NP panels of channels to results. A last panel may have fewer than 16 `columns`.
  template <int MR, int NP>
  static SQZ_INLINE void finish_values(const typename S::Sum (&sum)[MR][NP], const uint8_t *panel, int64_t stride,
                                       const float *factors, const float *scale, const float *bias, float *out,
                                       int64_t ldo, int64_t columns) {
#pragma GCC unroll 4
    for (int j = 0; j < NP; ++j) {
      const int n = static_cast<int>(NP == 1 ? min64(16, columns) : 16);
      const V w = scale ? load(scale + 16 * j, n) : I::set1(1.0f), b = bias ? load(bias + 16 * j, n) : I::zero();
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) {
        typename S::Sum exact = sum[i][j];
        if constexpr (!ValueLoop::kFirst)
          exact = S::plus(exact, reinterpret_cast<const int32_t *>(panel + j * stride + 64));
        const V y = I::fma(I::mul(to_floats(exact), I::set1(factors[i])), w, b);
        if (NP == 1 && n < 16)
          I::store_n(out + i * ldo, y, n);
        else
          I::store(out + i * ldo + 16 * j, y);
      }
    }
  }
  static SQZ_INLINE V load(const float *x, int n) { return n < 16 ? I::load_n(x, n) : I::load(x); }

  // Covers `rows` with tiles of Loop's height. The last one begins earlier, so it computes some rows again, to the same
  // bits; fewer rows than a tile has are computed one by one. A function per height would triple the code; one of half
  // the height as well gains 5 to 10 % below 32 queries. Rearranged rows can be read from the beginning of a tile
  // alone.
  template <class Loop, class Tiles>
  static SQZ_INLINE void cover(int rows, const Tiles &tiles) {
    constexpr int MR = Loop::kTileRows;
    if constexpr (Loop::kRearranged) {
      for (int i = 0; i < rows; i += MR) with_rows<MR>(static_cast<int>(min64(MR, rows - i)), AtRow<Tiles>{tiles, i});
      return;
    }
    const int height = rows >= MR ? MR : 1;
    for (int i = 0; i < rows; i += height) {
      const int row = static_cast<int>(min64(i, rows - height));
      height == MR ? tiles.template run<MR>(row) : tiles.template run<1>(row);
    }
  }
  template <class Tiles>
  struct AtRow {
    const Tiles &tiles;
    int row;
    template <int MR>
    SQZ_INLINE void run() const {
      tiles.template run<MR>(row);
    }
  };

  struct Scores {
    const AttentionHeadS8 &h;
    const Scratch &s;
    const uint8_t *q;  // of the block, as the loop reads it
    int64_t ldq;
    const float *factors;  // of the sums

    // Not inline, with plain arguments, and without a loop around it: with any of these inner loops use the stack.
    template <int MR, int NP>
    __attribute__((noinline)) static void tile(int64_t steps, const uint8_t *q, int64_t ldq, const uint8_t *panel,
                                               int64_t stride, const float *factors, const float *l, float *to,
                                               int64_t ldt) {
      typename S::Sum sum[MR][NP];
      ScoreLoop::template multiply<MR, NP>(steps, q, ldq, reinterpret_cast<const int8_t *>(panel) + kHead,
                                           reinterpret_cast<const int32_t *>(panel), stride, sum,
                                           ScoreLoop::ahead(panel));
      finish_scores<MR, NP>(sum, panel, stride, factors, l, to, ldt);
    }
    template <int MR>
    SQZ_INLINE void run(int row) const {
      const int64_t panels = s.columns / 16;
      for (int64_t panel = 0; panel < panels;) panel += next<MR, ScoreLoop::kTilePanels>(row, panel, panels - panel);
    }
    template <int MR, int NP>
    SQZ_INLINE int64_t next(int row, int64_t panel, int64_t left) const {
      if constexpr (NP > 1) {
        if (left < NP) return next<MR, NP - 1>(row, panel, left);
      }
      tile<MR, NP>(PackedS8::steps(h.head_size), q + row * ldq, ldq, s.k + panel * s.k_stride, s.k_stride,
                   factors + row, s.l + panel * 16, s.scores + row * s.lds + panel * 16, s.lds);
      return NP;
    }
  };

  struct Values {
    const AttentionHeadS8 &h;
    const Scratch &s;
    int64_t first;         // row of the block
    const float *factors;  // of the sums

    template <int MR, int NP>
    __attribute__((noinline)) static void tile(int64_t steps, const uint8_t *p, int64_t ldp, const uint8_t *panel,
                                               int64_t stride, const float *factors, const float *scale,
                                               const float *bias, float *out, int64_t ldo, int64_t columns) {
      typename S::Sum sum[MR][NP];
      ValueLoop::template multiply<MR, NP>(steps, p, ldp, reinterpret_cast<const int8_t *>(panel) + kHead,
                                           reinterpret_cast<const int32_t *>(panel), stride, sum,
                                           ValueLoop::ahead(panel));
      finish_values<MR, NP>(sum, panel, stride, factors, scale, bias, out, ldo, columns);
    }
    template <int MR>
    SQZ_INLINE void run(int row) const {
      for (int64_t d = 0; d < h.head_size;) d += next<MR, ValueLoop::kTilePanels>(row, d, h.head_size - d);
    }
    // A panel of less than 16 channels is a tile of its own.
    template <int MR, int NP>
    SQZ_INLINE int64_t next(int row, int64_t d, int64_t left) const {
      if constexpr (NP > 1) {
        if (left < NP * 16) return next<MR, NP - 1>(row, d, left);
      }
      tile<MR, NP>(s.columns / 4, s.p + row * s.ldp, s.ldp, s.v + d / 16 * s.v_stride, s.v_stride, factors + row,
                   h.value_scale ? h.value_scale + d : nullptr, h.value_bias ? h.value_bias + d : nullptr,
                   h.out + (first + row) * h.ldo + d, h.ldo, left);
      return NP * 16;
    }
  };

  // Scores to bytes of probabilities, and for each row the factor of its sums.
  static SQZ_INLINE void probabilities(int rows, const Scratch &s, float *factors) {
    for (int first = 0; first < rows; first += ValueLoop::kTileRows) {
      const int height = rows - first < ValueLoop::kTileRows ? rows - first : ValueLoop::kTileRows;
      tile_to_bytes(s.scores + first * s.lds, s.lds, height, s.columns, s.r, s.p + first * s.ldp, s.ldp, s.top,
                    factors + first);
    }
  }
  static SQZ_INLINE float greatest(const float *t, int64_t columns) {
    V a = I::load_once(t), b = a;
    int64_t key = 0;
    for (; key + 32 <= columns; key += 32) {
      a = I::greater(I::load_once(t + key), a);
      b = I::greater(I::load_once(t + key + 16), b);
    }
    if (key < columns) a = I::greater(I::load(t + key), a);
    return I::reduce_max(I::greater(a, b));
  }
  // The rows of a tile: their bytes, and top / the sum of probabilities with the scales of V taken out.
  static __attribute__((noinline)) void tile_to_bytes(const float *t, int64_t ldt, int rows, int64_t columns,
                                                      const float *r, uint8_t *p, int64_t ldp, float top,
                                                      float *factors) {
    for (int i = 0; i < rows; ++i, t += ldt)
      factors[i] = top / to_bytes(t, columns, greatest(t, columns), r, Bytes(p, ldp, columns / 4, i, rows));
  }
  static SQZ_INLINE float to_bytes(const float *t, int64_t columns, float top, const float *r, Bytes p) {
    constexpr int kVectors = Bytes::kVectors;
    const V m = I::set1(top);
    V sum = I::zero(), a[kVectors];
    const float *const end = t + columns;
    for (; end - t >= 16 * kVectors; t += 16 * kVectors, r += 16 * kVectors) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) a[j] = probability(t + 16 * j, m, r + 16 * j, &sum);
      p.store(a);
    }
    if (t < end) {
      for (int j = 0; j < kVectors; ++j)
        a[j] = t + 16 * j < end ? probability(t + 16 * j, m, r + 16 * j, &sum)
                                : I::set1(-128.0f);  // the byte 0: tiles read it with any values
      p.store(a);
    }
    return I::reduce_add_tree(sum);
  }
  static SQZ_INLINE V probability(const float *t, V top, const float *r, V *sum) {
    const V e = Math<I>::exp2_bytes(I::greater(I::set1(-126.0f), I::sub(I::load_once(t), top)));
    *sum = I::fma(e, I::load_once(r), *sum);
    return I::sub(e, I::set1(127.0f));
  }

  // The rows of a head whose keys are all excluded: the mean of V, or zeros.
  static SQZ_RARE void fully_masked(const AttentionHeadS8 &h) {
    const bool zero = h.keys == 0 || h.fully_masked == SQZ_MASKED_ZERO;
    const V weight = I::set1(zero ? 0.0f : 1.0f / static_cast<float>(h.keys));
    for (int64_t d = 0; d < h.head_size; d += 16) {
      const int n = static_cast<int>(min64(16, h.head_size - d));
      V y = I::zero();
      if (!zero) {
        for (int64_t key = 0; key < h.keys; ++key) {
          float v[16] = {0};
          for (int i = 0; i < n; ++i) v[i] = static_cast<float>(h.v[key * h.ldv + d + i] - 128);
          y = I::fma(weight, I::mul(I::load(v), I::set1(h.v_scales[key * h.lds])), y);
        }
        y = I::fma(y, h.value_scale ? I::load_n(h.value_scale + d, n) : I::set1(1.0f),
                   h.value_bias ? I::load_n(h.value_bias + d, n) : I::zero());
      }
      for (int64_t row = 0; row < h.queries; ++row) I::store_n(h.out + row * h.ldo + d, y, n);
    }
  }

  // A block of queries: how many of those left, their scores, and their results.
  static constexpr int kBlockRows = 24;  // whole tiles of both kinds on AVX-512
  static SQZ_INLINE int64_t block_rows(const AttentionHeadS8 &, int64_t left) { return min64(kBlockRows, left); }
  static SQZ_INLINE void score_block(const AttentionHeadS8 &h, const Scratch &s, int64_t row, int rows) {
    const typename ScoreLoop::Rows q =
        ScoreLoop::stage(rows, PackedS8::steps(h.head_size), h.q + row * h.ldq, h.ldq, s.q);
    float factors[kAttentionS8MaxRows];
    for (int i = 0; i < rows; ++i) factors[i] = h.q_scales[(row + i) * h.lds] * h.factor;
    cover<ScoreLoop>(rows, Scores{h, s, q.p, q.ld, factors});
  }
  static SQZ_INLINE void value_block(const AttentionHeadS8 &h, const Scratch &s, int64_t row, int rows,
                                     const float *factors) {
    cover<ValueLoop>(rows, Values{h, s, row, factors});
  }

  // Blocks has the last three functions: this struct, or one with products of its own.
  template <class Blocks>
  static SQZ_INLINE void run_blocks(const AttentionHeadS8 &h) {
    Scratch s(h);
    if (!prepare_scales(h, s)) return fully_masked(h);
    for (int64_t key = 0; key < h.keys; key += 16) pack_keys(h, key, s.k + key / 16 * s.k_stride);
    for (int64_t d = 0; d < h.head_size; d += 16) pack_values(h, d, s.v + d / 16 * s.v_stride);
    float factors[kAttentionS8MaxRows];
    for (int64_t row = 0; row < h.queries;) {
      const int rows = static_cast<int>(Blocks::block_rows(h, h.queries - row));
      Blocks::score_block(h, s, row, rows);
      probabilities(rows, s, factors);
      Blocks::value_block(h, s, row, rows, factors);
      row += rows;
    }
  }
  static SQZ_INLINE void run(const AttentionHeadS8 &h) { run_blocks<AttentionS8>(h); }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_KERNELS_ATTENTION_ATTENTION_S8_INL_
