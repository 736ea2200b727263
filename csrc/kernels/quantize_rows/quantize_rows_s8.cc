// Rows to bytes. Two passes over a batch of groups: first amax of each group, then the bytes; the second pass finds the
// groups in L1. One group after the other would wait for amax and its reciprocal each time.
#include "kernels/quantize_rows/quantize_rows.h"
#include "kernels/target.h"
#include "simd/common.h"

namespace sqz {
namespace {

// Rotates n floats. On 32-bit ARM with the trait of the epilogue, whose unit keeps subnormals.
template <class S>
void rotate(const float *x, int64_t n, float *to) {
  using I = typename S::Epilogue;
  using V = typename I::V;
  const float *end = x + n;
  for (; x < end; x += QuantizeRows::kBlock, to += QuantizeRows::kBlock) {
#pragma GCC unroll 1
    for (int i = 0; i < 128; i += 16) I::store(to + i, S::rotate16(I::load(x + i)));
#pragma GCC unroll 1
    for (int h = 16; h < 128; h *= 2) {
#pragma GCC unroll 1
      for (int i = 0; i < 128; i = (i + h + 16) & ~h) {
        const V a = I::load(to + i), b = I::load(to + i + h);
        I::store(to + i, I::add(a, b));
        I::store(to + i + h, I::sub(a, b));
      }
    }
  }
}

template <class S>
struct Quantize {
  using I = typename S::Float;
  using V = typename I::V;

  static constexpr int kBatch = 16;              // groups at a time
  static constexpr int64_t kBatchFloats = 4096;  // limit of a batch of more than one group

  // The bits of amax.
  static SQZ_INLINE uint32_t largest(const float *x, int64_t n) {
    typename S::Amax m[4] = {S::no_amax(), S::no_amax(), S::no_amax(), S::no_amax()};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) m[j] = S::amax(m[j], I::load(x + i + 16 * j));
    }
    for (; i + 16 <= n; i += 16) m[0] = S::amax(m[0], I::load(x + i));
    if (i < n) m[1] = S::amax(m[1], I::load_n(x + i, static_cast<int>(n - i)));
    return S::amax_bits(S::max_amax(S::max_amax(m[0], m[1]), S::max_amax(m[2], m[3])));
  }

  static SQZ_INLINE void to_bytes(const float *x, int64_t n, uint32_t bits, uint8_t *q, float *scale) {
    const int64_t width = QuantizeRows::width(n);
    float m;
    memcpy(&m, &bits, 4);
    if (bits >= 0x7f800000u || m < 0x1p-100f) {
      *scale = bits >= 0x7f800000u ? __builtin_nanf("") : 0.0f;
      for (int64_t i = 0; i < width; ++i) q[i] = 128;
      return;
    }
    *scale = m / 127.0f;
    const V factor = I::set1(127.0f / m);
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
      V v[4];  // not the one below, which is in memory
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) v[j] = I::mul(I::load(x + i + 16 * j), factor);
      S::store_bytes(q + i, v);
    }
    if (i == n) return;
    V v[4];
    for (int j = 0; j < 4; ++j) {
      const int rest = static_cast<int>(n - i - 16 * j);
      v[j] = rest >= 16 ? I::mul(I::load(x + i + 16 * j), factor)
             : rest > 0 ? I::mul(I::load_n(x + i + 16 * j, rest), factor)
                        : I::zero();
    }
    uint8_t buffer[64];
    S::store_bytes(buffer, v);
    memcpy(q + i, buffer, static_cast<size_t>(width - i));
  }

  // A batch is rotated to `rotated`, unless that is null. N is the channels of a group where the compiler knows them,
  // or 0: without loops and remainders a head of 32 or 64 takes half as many instructions.
  template <int N = 0>
  static void run_from(const QuantizeRows &p, float *rotated) {
    const int64_t n = N ? N : p.n;
    const int64_t all = p.rows * p.groups, width = p.width(n);
    const int64_t batch = n > kBatchFloats / kBatch ? (n > kBatchFloats ? 1 : kBatchFloats / n) : kBatch;
    // Of the next batch: `x` is read for amax, `again` for the bytes. `gap` is between two rows.
    const float *x = p.x, *again = p.x;
    uint8_t *q = p.q;
    float *scale = p.scales;
    int64_t g = 0, again_g = 0;
    const int64_t gap = p.ldx - p.groups * n;
    for (int64_t first = 0; first < all; first += batch) {
      const int count = static_cast<int>(min64(batch, all - first));
      uint32_t bits[kBatch];
      for (int i = 0; i < count; ++i) {
        if (rotated) rotate<S>(x, n, rotated + i * n);
        bits[i] = largest(rotated ? rotated + i * n : x, n);
        x += n;
        if (++g < p.groups) continue;
        g = 0;
        x += gap;
      }
      for (int i = 0; i < count; ++i) {
        to_bytes(rotated ? rotated + i * n : again, n, bits[i], q, scale);
        again += n;
        q += width;
        ++scale;
        if (++again_g < p.groups) continue;
        again_g = 0;
        again += gap;
        q += p.ldq - p.groups * width;
        scale += p.lds - p.groups;
      }
    }
  }

  static void run(const QuantizeRows &p) {
    if (p.rotate) return run_rotated(p);
    p.n == 64 ? run_from<64>(p, nullptr) : p.n == 32 ? run_from<32>(p, nullptr) : run_from(p, nullptr);
  }

  static __attribute__((noinline)) void run_rotated(const QuantizeRows &p) {
    static_assert(kBatchFloats <= QuantizeRows::kMostRotated, "there is room for a batch");
    alignas(64) float rotated[QuantizeRows::kMostRotated];
    run_from(p, rotated);
  }
};

}  // namespace

SQZ_KERNEL(quantize_rows_s8, Quantize<Bytes>::run, tile_of(Quantize<Bytes>::kBatch, "groups"));

}  // namespace sqz
