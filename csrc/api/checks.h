// Checks of the operations on arrays. Each is written once, for all operations and all languages. A message reads
// "argument: expected ..., got ..."; squeezeops/backends/_front.py has the same checks and texts for the
// backends in Python.
#ifndef SQZ_API_CHECKS_H_
#define SQZ_API_CHECKS_H_

#include <stddef.h>
#include <stdint.h>

#include <initializer_list>

#include "error.h"
#include "squeezeops/squeezeops.h"

namespace sqz {

#define SQZ_CHECK(condition, ...) \
  if (!(condition)) return fail(SQZ_INVALID, __VA_ARGS__)

constexpr int kMaxRank = SQZ_MAX_RANK;
constexpr int64_t kMaxElements = INT64_C(1) << 58;  // of an array, so that all offsets fit int64_t
constexpr int64_t kMaxChannels = INT64_C(1) << 28;  // of a convolution; its groups too
constexpr int64_t kMaxHeads = INT64_C(1) << 24;     // of attention; its head size too
// Of attention on quantised rows, so that an int32 holds the sums of its products.
constexpr int64_t kMaxByteHead = INT64_C(1) << 17, kMaxByteKeys = INT64_C(1) << 16;

// The product of two sizes; false if it is above the limit.
inline bool multiply(int64_t *elements, int64_t size) {
  return !__builtin_mul_overflow(*elements, size, elements) && *elements <= kMaxElements;
}

// ---- shapes --------------------------------------------------------------------------------------------------------

struct Shape {
  int rank;
  intptr_t n[kMaxRank];

  Shape() : rank(0) {}
  Shape(std::initializer_list<int64_t> sizes) : rank(0) {
    for (int64_t size : sizes) n[rank++] = static_cast<intptr_t>(size);
  }
  // That of an array that passed array().
  explicit Shape(const sqz_array &a) : Shape(a.rank, a.shape) {}
  Shape(const Shape &s) : Shape(s.rank, s.n) {}
  Shape &operator=(const Shape &s) {
    rank = s.rank;
    for (int i = 0; i < rank; ++i) n[i] = s.n[i];
    return *this;
  }
  Shape(int axes, const intptr_t *sizes) : rank(axes) {
    for (int i = 0; i < rank; ++i) n[i] = sizes[i];
  }

  // With another last axis, with another axis at the end, without the last axis. All but the second need rank >= 1.
  Shape with_last(int64_t size) const;
  Shape plus(int64_t size) const;
  Shape leading() const;

  intptr_t last() const { return n[rank - 1]; }
  int64_t elements() const;  // at most 2 * kMaxElements, which no memory holds, for a broadcast of more
  int64_t rows() const;      // the product of all sizes but the last
};

bool same_shape(const sqz_array &a, const Shape &shape);

// As Python writes a tuple: "(2, 3)", "(3,)", "()".
struct Text {
  char s[1500];  // 64 axes of 20 digits each
};
Text text(int rank, const intptr_t *sizes);
Text text(const Shape &shape);
Text text(const sqz_array &a);

// ---- arguments -----------------------------------------------------------------------------------------------------

inline bool given(const sqz_array &a) { return a.dtype != SQZ_NONE; }
inline int64_t item_size(sqz_dtype dtype) {
  switch (dtype) {
    case SQZ_F32:
    case SQZ_S32: return 4;
    case SQZ_F16: return 2;
    case SQZ_S64: return 8;
    default: return 1;
  }
}
bool contiguous_strides(const sqz_array &a);
inline bool contiguous(const sqz_array &a) { return !a.strides || contiguous_strides(a); }
const char *type_name(const sqz_array &a);

// An array of one of the types in a set such as kF32 | kBool.
using Types = unsigned;
constexpr Types kF32 = 1u << SQZ_F32, kF16 = 1u << SQZ_F16, kS8 = 1u << SQZ_S8, kU8 = 1u << SQZ_U8,
                kBool = 1u << SQZ_BOOL, kS32 = 1u << SQZ_S32, kS64 = 1u << SQZ_S64;
sqz_status array(const char *name, const sqz_array &a, Types types = kF32, const char *what = "an array");
// float32, with at least so many axes.
sqz_status rows(const char *name, const sqz_array &a, int axes = 1);
// Of exactly this shape.
sqz_status shaped(const char *name, const sqz_array &a, const Shape &shape, Types types = kF32);
// Not given, or of exactly this shape.
sqz_status optional(const char *name, const sqz_array &a, const Shape &shape);
// An embedding table of so many channels; -1: of any number, which is set.
sqz_status table(const char *name, const sqz_array &a, int64_t *channels);
// Ids: the type alone.
sqz_status numbers(const char *name, const sqz_array &a);
// Not given, or a mask that broadcasts to `shape`.
sqz_status mask(const char *name, const sqz_array &a, const Shape &shape, Types types = kBool | kF32);
// Offsets of the sequences of a ragged batch: the shape alone.
sqz_status offsets(const char *name, const sqz_array &a);

// A divisor of up to two sizes. Zero channels would have any number of groups, so there is a limit.
sqz_status divisor(const char *name, int64_t n, const char *of, int64_t size, const char *of_too = nullptr,
                   int64_t size_too = 0);
sqz_status epsilon(double eps);
// At most `limit`, a power of 2, "WHAT".
sqz_status no_more_than(const char *name, int64_t n, int64_t limit, const char *what = "");
constexpr int exponent(int64_t limit) { return __builtin_ctzll(static_cast<unsigned long long>(limit)); }
// For pointers: sizes of a matrix and its row stride.
sqz_status matrix(const char *name, const void *p, int64_t rows, int64_t n, int64_t ld);
// Values of ids and offsets, which no other thread may change meanwhile.
sqz_status in_range(const char *name, const int64_t *ids, int64_t count, int64_t limit);
sqz_status ascending(const char *name, const int32_t *offsets, int64_t batch);
// A value of an enumeration; it may come from another language.
sqz_status choice(const char *name, int value, int first, int last);

}  // namespace sqz

#endif  // SQZ_API_CHECKS_H_
