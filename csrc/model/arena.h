// Memory that lives as long as its owner, without the C++ library.
#ifndef SQZ_MODEL_ARENA_H_
#define SQZ_MODEL_ARENA_H_

#include <stdint.h>
#include <string.h>

#include "memory.h"

namespace sqz::model {

class Arena {
 public:
  Arena() {}
  ~Arena() {
    while (blocks_) {
      Block *next = blocks_->next;
      deallocate(blocks_);
      blocks_ = next;
    }
  }
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;

  // Zeros; null if there is no memory.
  template <class T>
  T *take(int64_t count) {
    int64_t bytes;
    if (count < 0 || __builtin_mul_overflow(count, int64_t{sizeof(T)}, &bytes) || bytes > PTRDIFF_MAX - kHead)
      return nullptr;
    Block *block = static_cast<Block *>(allocate(static_cast<size_t>(bytes + kHead)));
    if (!block) return nullptr;
    memset(static_cast<void *>(block), 0, static_cast<size_t>(bytes + kHead));
    block->next = blocks_;
    blocks_ = block;
    return reinterpret_cast<T *>(reinterpret_cast<char *>(block) + kHead);
  }

 private:
  struct Block {
    Block *next;
  };
  static constexpr int64_t kHead = 16;
  Block *blocks_ = nullptr;
};

inline int64_t to_line(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace sqz::model

#endif  // SQZ_MODEL_ARENA_H_
