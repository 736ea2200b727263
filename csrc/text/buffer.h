// An array that grows, without the C++ library. When there is no memory, it says so and keeps what it has.
#ifndef SQZ_TEXT_BUFFER_H_
#define SQZ_TEXT_BUFFER_H_

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

namespace sqz {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { free(data_); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;

  T *data() { return data_; }
  const T *data() const { return data_; }
  int64_t size() const { return size_; }
  T &operator[](int64_t i) { return data_[i]; }
  const T &operator[](int64_t i) const { return data_[i]; }
  T *begin() { return data_; }
  T *end() { return data_ + size_; }
  const T *begin() const { return data_; }
  const T *end() const { return data_ + size_; }

  void clear() { size_ = 0; }
  // Room for so many elements in all.
  bool reserve(int64_t count) {
    if (count <= capacity_) return true;
    if (count > PTRDIFF_MAX / static_cast<int64_t>(sizeof(T))) return false;
    void *grown = realloc(data_, static_cast<size_t>(count) * sizeof(T));
    if (!grown) return false;
    data_ = static_cast<T *>(grown);
    capacity_ = count;
    return true;
  }
  // Room for so many more, of which the next additions make use.
  bool room(int64_t more) {
    return size_ + more <= capacity_ || reserve(size_ + more > 2 * capacity_ ? size_ + more : 2 * capacity_);
  }
  bool push(const T &value) {
    if (!room(1)) return false;
    data_[size_++] = value;
    return true;
  }
  bool append(const T *values, int64_t count) {
    if (!room(count)) return false;
    if (count > 0) memcpy(data_ + size_, values, static_cast<size_t>(count) * sizeof(T));
    size_ += count;
    return true;
  }
  bool fill(int64_t count, const T &value) {
    if (!reserve(count)) return false;
    for (size_ = 0; size_ < count; ++size_) data_[size_] = value;
    return true;
  }
  void set_size(int64_t count) { size_ = count; }  // up to what was reserved

 private:
  T *data_ = nullptr;
  int64_t size_ = 0, capacity_ = 0;
};

}  // namespace sqz

#endif  // SQZ_TEXT_BUFFER_H_
