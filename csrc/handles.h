// Objects that outlive a call, behind numbers. A number is checked before anything is read, so one that was freed, or
// never given out, is refused; a pointer could not be checked.
#ifndef SQZ_HANDLES_H_
#define SQZ_HANDLES_H_

#include <stdint.h>

#include "error.h"

namespace sqz {

// A kind of object. Its address tells kinds apart.
struct HandleType {
  const char *name;  // of the argument in messages, such as "tokenizer"
  void (*destroy)(void *object);
};

// A new handle, never 0, of an object that it owns; without memory, the object still belongs to the caller.
sqz_status handle_open(const HandleType &type, void *object, uint64_t *handle);
// The object, which then stays until handle_release(); null, with a message, unless the handle is open.
void *handle_acquire(const HandleType &type, uint64_t handle);
void handle_release(uint64_t handle);
// From now on the handle is refused. The object is destroyed when no call uses it any more.
sqz_status handle_close(const HandleType &type, uint64_t handle);

// The object of a handle during a call; T::kHandle is its HandleType.
template <class T>
class Held {
 public:
  explicit Held(uint64_t handle) : handle_(handle), object_(static_cast<T *>(handle_acquire(T::kHandle, handle))) {}
  ~Held() {
    if (object_) handle_release(handle_);
  }
  Held(const Held &) = delete;
  Held &operator=(const Held &) = delete;
  explicit operator bool() const { return object_; }
  T *operator->() const { return object_; }
  T &operator*() const { return *object_; }

 private:
  const uint64_t handle_;
  T *const object_;
};

}  // namespace sqz

#endif  // SQZ_HANDLES_H_
