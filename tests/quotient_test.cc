// The quotient of csrc/kernels/softmax has the bits of a division. test_softmax.py runs this. It takes a step: 1 takes
// every divisor for the hardest dividends (some seconds), n every n-th.
#include <stdio.h>
#include <stdlib.h>

#include <random>

#include "kernels/softmax/softmax_f32.inl"
#include "simd/f32_scalar.h"

namespace {

using namespace sqz;
using V = F32Scalar::V;

uint64_t cases = 0;
int lanes = 0;
V dividends, divisors;

void check() {
  const V reciprocals = F32Scalar::div(F32Scalar::set1(1.0f), divisors);
  const V expected = F32Scalar::div(dividends, divisors);
  const V q = Softmax<F32Scalar>::quotient<F32Scalar>(dividends, divisors, reciprocals);
  for (int i = 0; i < lanes; ++i) {
    if (memcmp(&q.v[i], &expected.v[i], 4) == 0) continue;
    fprintf(stderr, "%a / %a: expected %a, got %a\n", dividends.v[i], divisors.v[i], expected.v[i], q.v[i]);
    exit(1);
  }
  cases += static_cast<uint64_t>(lanes);
  lanes = 0;
}
// A small dividend sends all 16 lanes to the division, so these wait for their like.
void check(float e, float t) {
  dividends.v[lanes] = e;
  divisors.v[lanes] = t;
  if (++lanes == 16) check();
}
void flush() {
  for (int i = lanes; i > 0 && i < 16; ++i) dividends.v[i] = dividends.v[0], divisors.v[i] = divisors.v[0];
  if (lanes) check();
}

// Quotients next to a midpoint m of two floats: e * 2^k = t * m + d for a small d, with e, t and m integers.
void next_to_midpoints(uint32_t t) {
  uint32_t inverse = t;  // modulo 2^32, by Newton's iteration
  for (int i = 0; i < 5; ++i) inverse *= 2 - t * inverse;
  for (int k = 24; k <= 25; ++k) {
    for (int d = -7; d <= 7; d += 2) {
      const uint64_t m = (-static_cast<uint32_t>(d) * inverse & ((1u << k) - 1)) | 1u << 24;
      const uint64_t product = t * m + static_cast<uint64_t>(static_cast<int64_t>(d)), e = product >> k;
      if (e << k == product && e >> 23 == 1) check(static_cast<float>(e) * 0x1p-24f, static_cast<float>(t) * 0x1p-23f);
    }
  }
}

}  // namespace

int main(int, char **arguments) {
  const uint32_t step = 2 * static_cast<uint32_t>(atoi(arguments[1]));
  for (uint32_t t = (1u << 23) + 1; t < 1u << 24; t += step) next_to_midpoints(t);
  // Both ends of a binade: all pairs of the first and the last 512 floats, and the quotients 1 + x and 1 - x.
  for (int i = -512; i < 512; ++i) {
    for (int j = -512; j < 512; ++j) {
      const float e = i < 0 ? 1.0f + static_cast<float>(i) * 0x1p-24f : 0.5f + static_cast<float>(i) * 0x1p-24f;
      check(e, j < 0 ? 2.0f + static_cast<float>(j) * 0x1p-23f : 1.0f + static_cast<float>(j) * 0x1p-23f);
    }
  }
  // Any pairs, down to the least dividend and up to the largest divisor.
  std::mt19937 random(1);
  const auto any = [&](int low, int high) {
    const uint32_t exponent = static_cast<uint32_t>(127 + low) + random() % static_cast<uint32_t>(high - low);
    const uint32_t bits = exponent << 23 | random() >> 9;
    float x;
    memcpy(&x, &bits, 4);
    return x;
  };
  for (int i = 0; i < 1 << 20; ++i) check(any(-80, 0), any(0, 46));
  for (float t : {1.0f, 0x1.fffffep0f, 0x1.8p1f, 0x1p46f}) check(Softmax<F32Scalar>::kLeast, t), check(1.0f, t);
  flush();
  // What is divided: zeros, and dividends whose quotients are subnormal.
  for (int i = 0; i < 1 << 16; ++i) check(i % 16 == 0 ? 0.0f : any(-126, -80), any(0, 46));
  flush();
  // Not finite in, not finite out.
  const float nan = __builtin_nanf("");
  const V q = Softmax<F32Scalar>::quotient<F32Scalar>(F32Scalar::set1(nan), F32Scalar::set1(nan), F32Scalar::set1(nan));
  if (q.v[0] == q.v[0]) return 1;
  printf("%llu\n", static_cast<unsigned long long>(cases));
}
