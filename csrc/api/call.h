// One call of an operation: its results, and its arguments as kernels read them.
#ifndef SQZ_API_CALL_H_
#define SQZ_API_CALL_H_

#include "api/checks.h"

namespace sqz {

struct Input {
  const char *name;
  const sqz_array *array;
};

// Rows of a dense last axis.
template <class T>
struct Rows {
  const T *p = nullptr;
  int64_t ld = 0;  // elements from row to row
};

// A mask as kernels read it: its last axis is dense and full, the strides of the others count elements, 0 repeats.
struct Mask {
  const void *p = nullptr;
  sqz_mask_kind kind = SQZ_MASK_NONE;
  int64_t strides[3] = {};
};

// One call: the results that it lacks, and copies of arguments that no kernel can read in place.
class Call {
 public:
  explicit Call(bool checked = false) : checked(checked) {}
  ~Call();
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  // Whether the same call was made before and returned SQZ_NEEDS_OUT. Checks that take time may then be left out.
  const bool checked;

  // Checks a result that is given, or asks for it. It may be exactly the same memory as `in_place`; otherwise it
  // overlaps no input.
  sqz_status output(sqz_array &out, const Shape &shape, std::initializer_list<Input> inputs,
                    const sqz_array *in_place = nullptr, sqz_dtype dtype = SQZ_F32);
  // After the last check: SQZ_NEEDS_OUT if a result was asked for.
  sqz_status ready() const { return asked_ ? SQZ_NEEDS_OUT : SQZ_OK; }
  // Both, for the only result.
  sqz_status result(sqz_array &out, const Shape &shape, std::initializer_list<Input> inputs,
                    const sqz_array *in_place = nullptr) {
    SQZ_TRY(output(out, shape, inputs, in_place));
    return ready();
  }

  // What kernels read of an argument that passed its check; null if it is not given. Copies where the strides or the
  // address make that necessary. When one of these functions has failed, the next ones do nothing, and status() tells.
  sqz_status status() const { return status_; }
  const void *dense(const char *name, const sqz_array &a) { return given(a) ? dense_of(name, a) : nullptr; }
  const float *vector(const char *name, const sqz_array &a) { return static_cast<const float *>(dense(name, a)); }
  template <class T = float>
  Rows<T> rows(const char *name, const sqz_array &a) {  // of the axes before the last
    Rows<T> rows;
    if (given(a)) rows.p = static_cast<const T *>(rows_of(name, a, &rows.ld));
    return rows;
  }
  // Always a copy, and then checked.
  const int64_t *ids(const char *name, const sqz_array &a, int64_t limit);
  const int32_t *offsets(const char *name, const sqz_array &a, int64_t total);
  // For a matrix of all rows of `shape`: one stride, 0 or at least the length of a row.
  Mask mask_rows(const char *name, const sqz_array &a, const Shape &shape);
  // For `shape`: a stride for each axis but the last.
  Mask mask_axes(const char *name, const sqz_array &a, const Shape &shape);
  // A copy of `count` values behind a pointer, which is checked for NULL alone.
  template <class T>
  const T *values(const char *name, const T *p, int64_t count) {
    return static_cast<const T *>(copy_of(name, p, count, sizeof(T)));
  }
  // Memory until the end of the call, at a multiple of 64; null if there is none.
  void *take(const char *name, int64_t bytes);

 private:
  const void *dense_of(const char *name, const sqz_array &a);
  const void *rows_of(const char *name, const sqz_array &a, int64_t *ld);
  void *copy(const char *name, const struct View &view);
  void *copy_of(const char *name, const void *p, int64_t count, int64_t item);

  bool asked_ = false;
  sqz_status status_ = SQZ_OK;
  struct Block *blocks_ = nullptr;
};

bool overlap(const sqz_array &a, const sqz_array &b);
// Whether two descriptors are of the same elements in the same order.
bool same_view(const sqz_array &a, const sqz_array &b);

inline float *floats(const sqz_array &a) { return static_cast<float *>(a.data); }

// Calls `run` with `count` structs of the size of this version, whatever version the caller was compiled for, in the
// library's float environment. All have the size that the first one states.
sqz_status with_size(void *args, size_t size, int64_t count, bool checked,
                     sqz_status (*run)(Call &call, void *args, int64_t count));

}  // namespace sqz

#endif  // SQZ_API_CALL_H_
