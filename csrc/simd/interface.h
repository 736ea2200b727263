// The interfaces of the traits, checked at compile time. Kernels are written once over them; f32_scalar.h and
// s8_scalar.h say what each function computes, and every other trait must give the same bits (those of SSE2 and 32-bit
// NEON, which lack a fused multiply-add or subnormal numbers, keep to a tolerance in floats).
//
// An ISA has a float trait, a byte trait or both. A byte trait has both of the latter interfaces:
//
//   floats    16 lanes of float, masks, one reduction tree, and how many registers there are
//   bytes     what surrounds the products of int8: sums to floats (the epilogue), and amax and rounding (quantisation)
//   products  sums of products of bytes, for the generic inner loop and the peak loop
//
// Scalable vectors (SVE, RISC-V V) do not fit. Their types have no size at compile time, so they can be neither members
// of a struct nor elements of the arrays that hold a tile. And every trait has 16 lanes, because the order of every sum
// follows from that number; a vector of unknown width would need other code for each width to keep that order.
//
// What fits is SVE at a width that the compiler knows (-msve-vector-bits=512, 256 or 128), which gives its types a
// size. Each width is then a row of isas.def with a trait like NEON's, of one, two or four registers per vector, and
// its CPU test compares the width with the processor's.
#ifndef SQZ_SIMD_INTERFACE_H_
#define SQZ_SIMD_INTERFACE_H_

#include <stdint.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // of vector types as template arguments

namespace sqz {
namespace {

template <class T>
struct Any {
  static T value();  // for expressions that are not evaluated
};
template <class A, class B>
struct SameType;
template <class A>
struct SameType<A, A> {
  struct type {};
};
template <class Trait, class Call>
constexpr auto offers(Call call, int) -> decltype(call(Trait()), true) {
  return true;
}
template <class Trait, class Call>
constexpr bool offers(Call, long) {
  return false;
}

// That `call` on a trait compiles and gives a `result`.
#define SQZ_NEEDS(what, result, call) \
  static_assert(offers<Trait>([](auto t) -> typename SameType<decltype(t.call), result>::type { return {}; }, 0), what)
#define SQZ_A(...) Any<__VA_ARGS__>::value()

template <class Trait>
constexpr bool check_floats() {
  using V [[maybe_unused]] = typename Trait::V;  // 16 floats
  using M [[maybe_unused]] = typename Trait::M;  // 16 booleans
#define SQZ_FLOATS_NEED(result, call) SQZ_NEEDS("a trait of floats needs: " #result " " #call, result, call)
  static_assert(Trait::kLanes == 16, "a trait of floats has 16 lanes: the order of every sum follows from that");
  // Registers that a tile may use, and how many of them a vector takes.
  static_assert(Trait::kRegisters >= Trait::kVectorRegisters && Trait::kVectorRegisters > 0,
                "kRegisters, kVectorRegisters");
  // Rows of the tile that the trait's own inner loop `multiply` holds; 0 where it has none.
  static_assert(Trait::kOwnTileRows >= 0, "kOwnTileRows");

  SQZ_FLOATS_NEED(V, zero());
  SQZ_FLOATS_NEED(V, set1(SQZ_A(float)));
  SQZ_FLOATS_NEED(V, load(SQZ_A(const float *)));
  SQZ_FLOATS_NEED(V, load_n(SQZ_A(const float *), SQZ_A(int)));  // the first n, then zeros; reads nothing beyond
  SQZ_FLOATS_NEED(V, load_half(SQZ_A(const uint16_t *)));        // float16, widened exactly
  SQZ_FLOATS_NEED(V, load_half_n(SQZ_A(const uint16_t *), SQZ_A(int)));
  SQZ_FLOATS_NEED(void, store(SQZ_A(float *), SQZ_A(V)));
  SQZ_FLOATS_NEED(void, store_n(SQZ_A(float *), SQZ_A(V), SQZ_A(int)));

  SQZ_FLOATS_NEED(V, add(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, sub(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, mul(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, div(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, fma(SQZ_A(V), SQZ_A(V), SQZ_A(V)));   // a * b + c, rounded once
  SQZ_FLOATS_NEED(V, fnma(SQZ_A(V), SQZ_A(V), SQZ_A(V)));  // c - a * b, rounded once
  SQZ_FLOATS_NEED(V, max(SQZ_A(V), SQZ_A(V)));             // the second operand if one is NaN or both are zeros
  SQZ_FLOATS_NEED(V, min(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, abs(SQZ_A(V)));
  SQZ_FLOATS_NEED(V, with_sign(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, rint(SQZ_A(V)));
  SQZ_FLOATS_NEED(V, scale2(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, min_abs(SQZ_A(V), SQZ_A(V)));  // this and the next seven: see FloatDefaults
  SQZ_FLOATS_NEED(V, split(SQZ_A(V), SQZ_A(V *)));
  SQZ_FLOATS_NEED(V, greater(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, scale2_normal(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, scale2_or_zero(SQZ_A(M), SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(V, load_addend(SQZ_A(const float *)));
  SQZ_FLOATS_NEED(V, load_once(SQZ_A(const float *)));
  SQZ_FLOATS_NEED(float, reduce_max(SQZ_A(V)));

  SQZ_FLOATS_NEED(M, tail(SQZ_A(int)));  // the first n lanes
  SQZ_FLOATS_NEED(M, lt(SQZ_A(V), SQZ_A(V)));
  SQZ_FLOATS_NEED(M, not_lt(SQZ_A(V), SQZ_A(V)));  // true where one is NaN
  SQZ_FLOATS_NEED(M, mask_and(SQZ_A(M), SQZ_A(M)));
  SQZ_FLOATS_NEED(M, nonzero_bytes(SQZ_A(const uint8_t *)));
  SQZ_FLOATS_NEED(bool, any(SQZ_A(M)));
  SQZ_FLOATS_NEED(V, select(SQZ_A(M), SQZ_A(V), SQZ_A(V)));

  SQZ_FLOATS_NEED(void, transpose(SQZ_A(const float *const(&)[16]), SQZ_A(float *)));
  SQZ_FLOATS_NEED(float, reduce_add_tree(SQZ_A(V)));  // lanes i and i + 8, then i + 4, i + 2, i + 1
  SQZ_FLOATS_NEED(float, reduce_max_tree(SQZ_A(V)));
#undef SQZ_FLOATS_NEED
  return true;
}

template <class Trait>
constexpr bool check_bytes() {
  using V [[maybe_unused]] = typename Trait::Float::V;             // of the float trait in which rows are quantised
  using EpilogueV [[maybe_unused]] = typename Trait::Epilogue::V;  // and of the epilogue: IEEE on every ISA
  using Sum [[maybe_unused]] = typename Trait::Sum;                // 16 int32
  using Amax [[maybe_unused]] = typename Trait::Amax;              // a running max of magnitudes
#define SQZ_BYTES_NEED(result, call) SQZ_NEEDS("a trait of bytes needs: " #result " " #call, result, call)
  SQZ_BYTES_NEED(EpilogueV, to_float(SQZ_A(Sum)));

  SQZ_BYTES_NEED(Amax, no_amax());
  SQZ_BYTES_NEED(Amax, amax(SQZ_A(Amax), SQZ_A(V)));
  SQZ_BYTES_NEED(Amax, max_amax(SQZ_A(Amax), SQZ_A(Amax)));
  SQZ_BYTES_NEED(uint32_t, amax_bits(SQZ_A(Amax)));       // the bits of a float
  SQZ_BYTES_NEED(EpilogueV, rotate16(SQZ_A(EpilogueV)));  // stages 1, 2, 4 and 8 of a rotation, see QuantizeRows
  SQZ_BYTES_NEED(void, store_bytes(SQZ_A(uint8_t *), SQZ_A(const V(&)[4])));  // rne(x) + 128 of 64 floats

  SQZ_BYTES_NEED(Sum, plus(SQZ_A(Sum), SQZ_A(const int32_t *)));
  SQZ_BYTES_NEED(void, store_sum(SQZ_A(int32_t *), SQZ_A(Sum)));
  SQZ_BYTES_NEED(Sum, add_weights(SQZ_A(Sum), SQZ_A(const int8_t *)));
  SQZ_BYTES_NEED(Sum, interleave(SQZ_A(const uint8_t *const(&)[4]), SQZ_A(int8_t *), SQZ_A(Sum)));
  SQZ_BYTES_NEED(Sum, transpose_words(SQZ_A(const uint8_t *const(&)[16]), SQZ_A(int8_t *), SQZ_A(Sum)));
#undef SQZ_BYTES_NEED
  return true;
}

template <class Trait>
constexpr bool check_products() {
  using Sum [[maybe_unused]] = typename Trait::Sum;
  using Four [[maybe_unused]] = typename Trait::Four;        // four successive activations, for all 16 channels
  using Weights [[maybe_unused]] = typename Trait::Weights;  // four successive weights of each of 16 channels
#define SQZ_PRODUCTS_NEED(result, call) \
  SQZ_NEEDS("a trait of products of bytes needs: " #result " " #call, result, call)
  // Registers that a tile may use, that a vector of 16 sums takes, and that a product takes beside the sums.
  static_assert(Trait::kRegisters >= Trait::kProductRegisters && Trait::kSumRegisters > 0,
                "kRegisters, kSumRegisters, kProductRegisters");
  SQZ_PRODUCTS_NEED(Sum, start(SQZ_A(const int32_t *)));  // where sums start: 0, or -128 times the sum of the weights
  SQZ_PRODUCTS_NEED(Weights, load(SQZ_A(const int8_t *)));
  SQZ_PRODUCTS_NEED(Four, broadcast(SQZ_A(const uint8_t *)));
  SQZ_PRODUCTS_NEED(Sum, dot(SQZ_A(Sum), SQZ_A(Four), SQZ_A(Weights)));
  // For the peak loop: changes nothing, but the compiler must assume that it did.
  SQZ_PRODUCTS_NEED(void, renew(SQZ_A(Four *)));
#undef SQZ_PRODUCTS_NEED
  return true;
}

#undef SQZ_A
#undef SQZ_NEEDS

}  // namespace
}  // namespace sqz

#pragma GCC diagnostic pop

#endif  // SQZ_SIMD_INTERFACE_H_
