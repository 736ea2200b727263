// One call of an operation: its results, and its arguments as kernels read them.
#ifndef SQZ_API_CALL_H_
#define SQZ_API_CALL_H_

#include <string.h>

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
  explicit Call(int64_t results) : results_(results) {}
  ~Call();
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  // Checks a result that is given, or asks for it. It may be exactly the same memory as `in_place`; otherwise it
  // overlaps no input.
  sqz_status output(sqz_array &out, const Shape &shape, std::initializer_list<Input> inputs,
                    const sqz_array *in_place = nullptr, sqz_dtype dtype = SQZ_F32);
  // After the last check: whether to return SQZ_NEEDS_OUT.
  bool needs_out() const { return asked_ > 0; }

  // What kernels read, of an argument that passed its check. Copies where the strides or the address make that
  // necessary.
  sqz_status dense(const char *name, const sqz_array &a, const void **p);
  sqz_status dense(const char *name, const sqz_array &a, const float **p);  // null if not given
  template <class T>
  sqz_status rows(const char *name, const sqz_array &a, Rows<T> *rows) {  // of axes before the last; null likewise
    const void *p;
    const sqz_status status = rows_of(name, a, &p, &rows->ld);
    rows->p = static_cast<const T *>(p);
    return status;
  }
  // Always a copy, and then checked.
  sqz_status ids(const char *name, const sqz_array &a, int64_t limit, const int64_t **ids);
  sqz_status offsets(const char *name, const sqz_array &a, int64_t total, const int32_t **offsets);
  // For a matrix of all rows of `shape`: one stride, 0 or at least the length of a row.
  sqz_status mask_rows(const char *name, const sqz_array &a, const Shape &shape, Mask *mask);
  // For `shape`: a stride for each axis but the last.
  sqz_status mask_axes(const char *name, const sqz_array &a, const Shape &shape, Mask *mask);

  // The same of `count` values behind a pointer, which is checked for NULL alone.
  template <class T>
  sqz_status values(const char *name, const T *p, int64_t count, const T **copy) {
    SQZ_CHECK(p || count == 0, "%s: expected a pointer, got NULL", name);
    sqz_status status;
    void *to = take(name, count <= kMaxElements ? count * int64_t{sizeof(T)} : INT64_MAX, &status);
    if (to && count > 0) memcpy(to, p, static_cast<size_t>(count) * sizeof(T));
    *copy = static_cast<const T *>(to);
    return status;
  }

  // Memory until the end of the call, at a multiple of 64.
  void *take(const char *name, int64_t bytes, sqz_status *status);

 private:
  sqz_status rows_of(const char *name, const sqz_array &a, const void **p, int64_t *ld);
  sqz_status copy(const char *name, const sqz_array &a, void **p);

  int64_t results_, asked_ = 0;
  intptr_t *shapes_ = nullptr;
  struct Block *blocks_ = nullptr;
};

bool overlap(const sqz_array &a, const sqz_array &b);
// Whether two descriptors are of the same elements in the same order.
bool same_view(const sqz_array &a, const sqz_array &b);

inline float *floats(const sqz_array &a) { return static_cast<float *>(a.data); }

constexpr size_t kMaxStruct = 1024;  // bytes of an operation's arguments; python/call.cc has the same limit

// Calls `run` with a struct of the size of this version, whatever version the caller was compiled for.
sqz_status with_size(void *args, size_t size, sqz_status (*run)(void *args));
// Of `count` structs, all of the size that the first one states.
sqz_status with_sizes(void *args, size_t size, int64_t count, sqz_status (*run)(void *args, int64_t count));

}  // namespace sqz

#endif  // SQZ_API_CALL_H_
