#include "memory.h"

#include <stdint.h>
#include <stdlib.h>

#include "error.h"

namespace sqz {

namespace {

struct Allocator {
  sqz_allocate_fn allocate;
  sqz_release_fn release;
  void *context;
};
constexpr Allocator kDefault = {[](void *, size_t size) { return malloc(size); },
                                [](void *, void *memory) { free(memory); }, nullptr};
Allocator allocator = kDefault;

// Lies before the memory.
struct Header {
  void *start;
  sqz_release_fn release;
  void *context;
};

}  // namespace

void *allocate(size_t bytes) {
  constexpr size_t kLine = 64;
  if (bytes > PTRDIFF_MAX - kLine - sizeof(Header)) return nullptr;
  const Allocator from = allocator;
  void *start = from.allocate(from.context, bytes + kLine + sizeof(Header));
  if (!start) return nullptr;
  const uintptr_t memory = (reinterpret_cast<uintptr_t>(start) + sizeof(Header) + kLine - 1) / kLine * kLine;
  reinterpret_cast<Header *>(memory)[-1] = {start, from.release, from.context};
  return reinterpret_cast<void *>(memory);
}

void deallocate(void *memory) {
  if (!memory) return;
  const Header header = static_cast<Header *>(memory)[-1];
  header.release(header.context, header.start);
}

}  // namespace sqz

extern "C" sqz_status sqz_set_allocator(sqz_allocate_fn allocate, sqz_release_fn release, void *context) {
  using namespace sqz;
  if (!allocate != !release)
    return fail(SQZ_INVALID, "%s: expected a function, got NULL", allocate ? "release" : "allocate");
  allocator = allocate ? Allocator{allocate, release, context} : kDefault;
  return SQZ_OK;
}
