// An array that grows, without the C++ library. When there is no memory, it says so and keeps what it has.
#ifndef SQZ_TEXT_BUFFER_H_
#define SQZ_TEXT_BUFFER_H_

#include <stdint.h>
#include <string.h>

#include "memory.h"

namespace sqz {

// Of elements of `item` bytes; not a member, because it is the same for all types.
inline __attribute__((noinline)) bool grow_buffer(void **data, int64_t *capacity, int64_t size, int64_t count,
                                                  size_t item) {
  if (count > PTRDIFF_MAX / static_cast<int64_t>(item)) return false;
  void *grown = allocate(static_cast<size_t>(count) * item);
  if (!grown) return false;
  if (size > 0) memcpy(grown, *data, static_cast<size_t>(size) * item);
  deallocate(*data);
  *data = grown;
  *capacity = count;
  return true;
}

template <class T>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { deallocate(data_); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;

  T *data() { return static_cast<T *>(data_); }
  const T *data() const { return static_cast<const T *>(data_); }
  int64_t size() const { return size_; }
  T &operator[](int64_t i) { return data()[i]; }
  const T &operator[](int64_t i) const { return data()[i]; }
  T *begin() { return data(); }
  T *end() { return data() + size_; }
  const T *begin() const { return data(); }
  const T *end() const { return data() + size_; }

  void clear() { size_ = 0; }
  // Room for so many elements in all.
  bool reserve(int64_t count) { return count <= capacity_ || grow_buffer(&data_, &capacity_, size_, count, sizeof(T)); }
  // Room for so many more, of which the next additions make use.
  bool room(int64_t more) {
    const int64_t need = size_ + more;
    return need <= capacity_ || reserve(need > 2 * capacity_ ? need + 64 : 2 * capacity_);
  }
  bool push(const T &value) {
    if (!room(1)) return false;
    data()[size_++] = value;
    return true;
  }
  bool append(const T *values, int64_t count) {
    if (!room(count)) return false;
    if (count > 0) memcpy(data() + size_, values, static_cast<size_t>(count) * sizeof(T));
    size_ += count;
    return true;
  }
  bool fill(int64_t count, const T &value) {
    if (!reserve(count)) return false;
    for (size_ = 0; size_ < count; ++size_) data()[size_] = value;
    return true;
  }
  void set_size(int64_t count) { size_ = count; }  // up to what was reserved

 private:
  void *data_ = nullptr;
  int64_t size_ = 0, capacity_ = 0;
};

}  // namespace sqz

#endif  // SQZ_TEXT_BUFFER_H_
