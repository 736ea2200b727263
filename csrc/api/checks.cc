#include "api/checks.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "threading/float_environment.h"

namespace sqz {

namespace {

// bool first, as in "an array of bool or float32".
constexpr sqz_dtype kOrder[] = {SQZ_BOOL, SQZ_F32, SQZ_F16, SQZ_S8, SQZ_U8, SQZ_S32, SQZ_S64};

const char *dtype_name(sqz_dtype dtype) {
  switch (dtype) {
    case SQZ_F32: return "float32";
    case SQZ_F16: return "float16";
    case SQZ_S8: return "int8";
    case SQZ_U8: return "uint8";
    case SQZ_BOOL: return "bool";
    case SQZ_S32: return "int32";
    case SQZ_S64: return "int64";
    case SQZ_BYTE: return "bytes";
    default: return dtype == SQZ_NONE ? "none" : "another type";
  }
}

bool is_one_of(const sqz_array &a, Types types) {
  if (a.dtype == SQZ_BYTE) return (types & (kU8 | kBool)) != 0;
  return static_cast<unsigned>(a.dtype) < SQZ_BYTE && (types >> a.dtype & 1);
}

}  // namespace

// ---- shapes --------------------------------------------------------------------------------------------------------

Shape Shape::with_last(int64_t size) const {
  Shape s = *this;
  s.n[rank - 1] = static_cast<intptr_t>(size);
  return s;
}

Shape Shape::plus(int64_t size) const {
  Shape s = *this;
  s.n[s.rank++] = static_cast<intptr_t>(size);
  return s;
}

Shape Shape::leading() const {
  Shape s = *this;
  --s.rank;
  return s;
}

int64_t Shape::elements() const {
  int64_t product = 1;
  bool none = false;
  for (int i = 0; i < rank; ++i) {
    none = none || n[i] == 0;
    if (!multiply(&product, n[i])) product = 2 * kMaxElements;
  }
  return none ? 0 : product;
}

int64_t Shape::rows() const {
  int64_t product = 1;
  for (int i = 0; i < rank - 1; ++i) product *= n[i];
  return product;
}

bool same_shape(const sqz_array &a, const Shape &shape) {
  bool same = a.rank == shape.rank && (a.shape || a.rank == 0);
  for (int i = 0; same && i < shape.rank; ++i) same = a.shape[i] == shape.n[i];
  return same;
}

Text text(int rank, const intptr_t *sizes) {
  Text t;
  int at = snprintf(t.s, sizeof t.s, "(");
  for (int i = 0; i < rank; ++i)
    at += snprintf(t.s + at, sizeof t.s - static_cast<size_t>(at), "%s%lld", i ? ", " : "", (long long)sizes[i]);
  snprintf(t.s + at, sizeof t.s - static_cast<size_t>(at), rank == 1 ? ",)" : ")");
  return t;
}

Text text(const Shape &shape) { return text(shape.rank, shape.n); }
Text text(const sqz_array &a) { return text(a.rank, a.shape); }

// ---- arguments -----------------------------------------------------------------------------------------------------

bool contiguous_strides(const sqz_array &a) {
  int64_t stride = item_size(a.dtype);
  bool good = true;
  for (int i = a.rank - 1; i >= 0; --i) {
    if (a.shape[i] == 0) return true;
    good = good && (a.shape[i] == 1 || a.strides[i] == stride);
    stride *= a.shape[i];
  }
  return good;
}

const char *type_name(const sqz_array &a) { return a.type ? a.type : dtype_name(a.dtype); }

sqz_status array(const char *name, const sqz_array &a, Types types, const char *what) {
  if (!is_one_of(a, types)) {
    char expected[100];
    int at = 0;
    for (const sqz_dtype dtype : kOrder)
      if (types >> dtype & 1)
        at += snprintf(expected + at, sizeof expected - static_cast<size_t>(at), "%s%s", at ? " or " : "",
                       dtype_name(dtype));
    return fail(SQZ_TYPE, "%s: expected %s of %s, got %s", name, what, expected, type_name(a));
  }
  SQZ_CHECK(a.rank >= 0 && a.rank <= kMaxRank, "%s: expected at most %d dimensions, got %d", name, kMaxRank, a.rank);
  SQZ_CHECK(a.shape || a.rank == 0, "%s: expected a shape, got NULL", name);
  // Also of an array without elements, so that the product of any of its sizes fits.
  int64_t elements = 1;
  bool none = false;
  for (int i = 0; i < a.rank; ++i) {
    const int64_t size = a.shape[i];
    SQZ_CHECK(size >= 0 && multiply(&elements, size == 0 ? 1 : size),
              "%s: expected sizes >= 0 and fewer than 2^58 elements, got shape %s", name, text(a).s);
    none = none || size == 0;
  }
  SQZ_CHECK(a.data || none, "%s: expected a pointer, got NULL", name);
  return SQZ_OK;
}

sqz_status rows(const char *name, const sqz_array &a, int axes) {
  SQZ_TRY(array(name, a));
  SQZ_CHECK(a.rank >= axes, "%s: expected at least %d dimension%s, got shape %s%s", name, axes, axes > 1 ? "s" : "",
            text(a).s, a.rank ? "" : " (reshape a single number to (1, 1))");
  return SQZ_OK;
}

sqz_status shaped(const char *name, const sqz_array &a, const Shape &shape, Types types) {
  SQZ_TRY(array(name, a, types));
  SQZ_CHECK(same_shape(a, shape), "%s: expected shape %s, got %s", name, text(shape).s, text(a).s);
  return SQZ_OK;
}

sqz_status optional(const char *name, const sqz_array &a, const Shape &shape) {
  return given(a) ? shaped(name, a, shape) : SQZ_OK;
}

sqz_status table(const char *name, const sqz_array &a, int64_t *channels) {
  SQZ_TRY(array(name, a, kF32 | kF16 | kS8));
  const int64_t scale = a.dtype == SQZ_S8 ? 4 : 0;  // bytes at the end of a row
  if (a.rank != 2 || a.shape[1] < scale || (*channels >= 0 && a.shape[1] != *channels + scale)) {
    SQZ_CHECK(*channels < 0, "%s: expected shape (rows, %lld), got %s", name, (long long)(*channels + scale),
              text(a).s);
    return fail(SQZ_INVALID, "%s: expected shape (rows, channels%s), got %s", name, scale ? " + 4" : "", text(a).s);
  }
  *channels = a.shape[1] - scale;
  return SQZ_OK;
}

sqz_status numbers(const char *name, const sqz_array &a) {
  SQZ_TRY(array(name, a, kS32 | kS64));
  SQZ_CHECK(a.rank < kMaxRank, "%s: expected at most %d dimensions, got %d", name, kMaxRank - 1, a.rank);
  return SQZ_OK;
}

sqz_status mask(const char *name, const sqz_array &a, const Shape &shape, Types types) {
  if (!given(a)) return SQZ_OK;
  SQZ_TRY(array(name, a, types));
  bool fits = a.rank <= shape.rank;
  for (int i = 0; fits && i < a.rank; ++i) {
    const intptr_t size = a.shape[a.rank - 1 - i];
    fits = size == 1 || size == shape.n[shape.rank - 1 - i];
  }
  SQZ_CHECK(fits, "%s: expected a shape that broadcasts to %s, got %s", name, text(shape).s, text(a).s);
  return SQZ_OK;
}

sqz_status offsets(const char *name, const sqz_array &a) {
  SQZ_TRY(array(name, a, kS32));
  SQZ_CHECK(a.rank == 1 && a.shape[0] > 0, "%s: expected shape (batch + 1,), got %s", name, text(a).s);
  return SQZ_OK;
}

sqz_status divisor(const char *name, int64_t n, const char *of, int64_t size, const char *of_too, int64_t size_too) {
  SQZ_CHECK(n >= 1, "%s: expected a positive int, got %lld", name, (long long)n);
  SQZ_TRY(no_more_than(name, n, kMaxChannels));
  if (n == 1 || (size % n == 0 && size_too % n == 0)) return SQZ_OK;
  SQZ_CHECK(of_too, "%s: expected a divisor of %s = %lld, got %lld", name, of, (long long)size, (long long)n);
  return fail(SQZ_INVALID, "%s: expected a divisor of %s = %lld and %s = %lld, got %lld", name, of, (long long)size,
              of_too, (long long)size_too, (long long)n);
}

sqz_status no_more_than(const char *name, int64_t n, int64_t limit, const char *what) {
  SQZ_CHECK(n <= limit, "%s: expected at most 2^%d%s, got %lld", name, exponent(limit), what, (long long)n);
  return SQZ_OK;
}

sqz_status epsilon(double eps) {
  constexpr double kMost = FLT_MAX;
  if (between(eps, 0, kMost)) return SQZ_OK;
  const double got = between(eps, -HUGE_VAL, HUGE_VAL) ? eps : static_cast<double>(NAN);  // no "-nan"
  return fail(SQZ_INVALID, "eps: expected a number from 0 to %g, got %g", kMost, got);
}

sqz_status matrix(const char *name, const void *p, int64_t rows, int64_t n, int64_t ld) {
  SQZ_CHECK(rows >= 0 && n >= 0, "%s: expected sizes >= 0, got (%lld, %lld)", name, (long long)rows, (long long)n);
  SQZ_CHECK(ld >= n, "%s: expected a row stride >= %lld, got %lld", name, (long long)n, (long long)ld);
  SQZ_CHECK(rows == 0 || ld <= kMaxElements / rows, "%s: expected fewer than 2^58 elements, got %lld rows of %lld",
            name, (long long)rows, (long long)ld);
  SQZ_CHECK(p || rows == 0 || n == 0, "%s: expected a pointer, got NULL", name);
  return SQZ_OK;
}

sqz_status in_range(const char *name, const int64_t *ids, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i)
    SQZ_CHECK(ids[i] >= 0 && ids[i] < limit, "%s: expected values in [0, %lld), got %lld at position %lld", name,
              (long long)limit, (long long)ids[i], (long long)i);
  return SQZ_OK;
}

sqz_status ascending(const char *name, const int32_t *offsets, int64_t batch) {
  SQZ_CHECK(offsets[0] == 0, "%s: expected to start at 0, got %d", name, offsets[0]);
  for (int64_t b = 0; b < batch; ++b)
    SQZ_CHECK(offsets[b + 1] >= offsets[b], "%s: expected values that do not decrease, got %d after %d", name,
              offsets[b + 1], offsets[b]);
  return SQZ_OK;
}

sqz_status choice(const char *name, int value, int first, int last) {
  SQZ_CHECK(value >= first && value <= last, "%s: expected a value from %d to %d, got %d", name, first, last, value);
  return SQZ_OK;
}

}  // namespace sqz
