// What one object is compiled for: its ISA, its traits, and how it exports a kernel. Only sources that are compiled
// once per ISA include this; CMakeLists.txt takes the macros from isas.def.
//
//   SQZ_TARGET                    avx2
//   SQZ_FLOATS, SQZ_FLOATS_HEADER  F32Avx2, "simd/f32_avx2.h"; not defined where the ISA has no float kernels
//   SQZ_BYTES, SQZ_BYTES_HEADER    likewise
//
// The same inline function or template, compiled with different flags, must never become one symbol: the linker would
// keep one copy of it, perhaps the one that needs AVX-512. Therefore whatever such an object defines is in an unnamed
// namespace, and what it exports has the ISA in its name.
#ifndef SQZ_ISA_TARGET_H_
#define SQZ_ISA_TARGET_H_

#include "kernels/kernel.h"
#include "simd/interface.h"

#ifndef SQZ_TARGET
#error "this source is compiled once per ISA, with the macros of isa/target.h"
#endif

#ifdef SQZ_FLOATS
#include SQZ_FLOATS_HEADER
#endif
#ifdef SQZ_BYTES
#include SQZ_BYTES_HEADER
#endif

namespace sqz {
namespace {

#ifdef SQZ_FLOATS
using Floats = SQZ_FLOATS;
constexpr bool kFloatsChecked = check_floats<Floats>();
#endif
#ifdef SQZ_BYTES
using Bytes = SQZ_BYTES;
constexpr bool kBytesChecked = check_floats<Bytes::Float>() && check_bytes<Bytes>() && check_products<Bytes>();
#endif

constexpr Tile with(Tile tile, const char *text) {
  int end = 0;
  while (tile.text[end]) ++end;
  while (*text) tile.text[end++] = *text++;
  return tile;
}
constexpr Tile with(Tile tile, int number) {
  if (number > 9) tile = with(tile, number / 10);
  const char digit[2] = {static_cast<char>('0' + number % 10), '\0'};
  return with(tile, digit);
}
// "4 rows", "16 values"
[[maybe_unused]] constexpr Tile tile_of(int count, const char *unit) { return with(with(with({}, count), " "), unit); }
// "8x48": rows and columns of outputs
[[maybe_unused]] constexpr Tile tile_of(int rows, int columns) { return with(with(with({}, rows), "x"), columns); }
// "12x32 6x64", or "6x16" where both are the same
[[maybe_unused]] constexpr Tile tile_of(int rows, int columns, int rows2, int columns2) {
  const Tile first = tile_of(rows, columns);
  if (rows == rows2 && columns == columns2) return first;
  return with(with(with(with(first, " "), rows2), "x"), columns2);
}

}  // namespace
}  // namespace sqz

#define SQZ_JOIN_(name, isa) name##_##isa
#define SQZ_JOIN(name, isa) SQZ_JOIN_(name, isa)
#define SQZ_SYMBOL(name) SQZ_JOIN(name, SQZ_TARGET)  // layer_norm_f32_avx2
#define SQZ_TEXT_(text) #text
#define SQZ_TEXT(text) SQZ_TEXT_(text)

// Exports the kernel of a row of ops.def: SQZ_KERNEL(layer_norm_f32, function, tile).
#define SQZ_KERNEL(name, function, ...)            \
  extern const Kernel<name##_fn> SQZ_SYMBOL(name); \
  const Kernel<name##_fn> SQZ_SYMBOL(name) = {function, SQZ_TEXT(SQZ_SYMBOL(name)), __VA_ARGS__}

#endif  // SQZ_ISA_TARGET_H_
