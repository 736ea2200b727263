#include "handles.h"

#include <string.h>

#include <atomic>

#include "memory.h"

namespace sqz {

namespace {

// A handle is a generation in the upper 32 bits and the index of a slot below. A slot's state is its generation, a bit
// that says whether the handle is open, and the number of users: the open handle and each call that holds the object.
// Without users the slot is free, and the next generation may take it. No lock, so fork() may happen at any time.
constexpr uint64_t kOpen = UINT64_C(1) << 31, kUsers = kOpen - 1;

struct Slot {
  std::atomic<uint64_t> state;
  const HandleType *type;  // written and read only by users
  void *object;
};

// Slots never move: chunk k has 64 << k of them.
constexpr int kChunks = 20, kFirstBits = 6;
Slot first_slots[1 << kFirstBits];
std::atomic<Slot *> chunks[kChunks] = {first_slots};  // the others are allocated and never freed
std::atomic<uint32_t> next{0};                        // where to look for a free slot first

uint32_t generation(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

Slot *slot_at(uint32_t index) {
  if (index >= (UINT32_C(1) << (kChunks + kFirstBits)) - (UINT32_C(1) << kFirstBits)) return nullptr;
  const uint32_t place = index + (UINT32_C(1) << kFirstBits);
  const int chunk = 31 - __builtin_clz(place) - kFirstBits;
  Slot *slots = chunks[chunk].load(std::memory_order_acquire);
  return slots ? slots + (place - (UINT32_C(1) << (chunk + kFirstBits))) : nullptr;
}

// Takes a free slot for the next generation, which is not open yet. Returns null if there is none.
Slot *claim(uint32_t from, uint32_t to, uint32_t *index) {
  for (uint32_t i = from; i < to; ++i) {
    Slot &slot = *slot_at(i);
    uint64_t state = slot.state.load(std::memory_order_relaxed);
    if (state & (kOpen | kUsers)) continue;
    const uint64_t taken = (static_cast<uint64_t>(generation(state) + 1 ? generation(state) + 1 : 1) << 32) | 1;
    if (!slot.state.compare_exchange_strong(state, taken, std::memory_order_acquire)) continue;
    *index = i;
    next.store(i + 1, std::memory_order_relaxed);
    return &slot;
  }
  return nullptr;
}

sqz_status refuse(const HandleType &type, uint64_t handle) {
  return fail(SQZ_INVALID, "%s: expected an open handle, got %llu", type.name, (unsigned long long)handle);
}

}  // namespace

sqz_status handle_open(const HandleType &type, void *object, uint64_t *handle) {
  uint32_t count = 0, index = 0;
  Slot *slot = nullptr;
  for (int chunk = 0; chunk <= kChunks && !slot; ++chunk) {
    if (chunk < kChunks && chunks[chunk].load(std::memory_order_acquire)) {
      count += UINT32_C(1) << (chunk + kFirstBits);
      continue;
    }
    uint32_t start = next.load(std::memory_order_relaxed);
    if (start > count) start = count;
    slot = claim(start, count, &index);
    if (!slot) slot = claim(0, start, &index);
    if (slot || chunk == kChunks) break;
    const uint32_t more = UINT32_C(1) << (chunk + kFirstBits);
    Slot *fresh = static_cast<Slot *>(allocate(more * sizeof(Slot))), *none = nullptr;
    if (!fresh) break;
    memset(static_cast<void *>(fresh), 0, more * sizeof(Slot));
    if (!chunks[chunk].compare_exchange_strong(none, fresh, std::memory_order_acq_rel)) deallocate(fresh);
    slot = claim(count, count + more, &index);
    count += more;
  }
  if (!slot) return fail(SQZ_NO_MEMORY, "%s: expected memory for a handle, got none", type.name);
  slot->type = &type;
  slot->object = object;
  const uint64_t state = slot->state.load(std::memory_order_relaxed);
  *handle = (state & ~(kOpen | kUsers)) | index;
  slot->state.store(state | kOpen, std::memory_order_release);
  return SQZ_OK;
}

void *handle_acquire(const HandleType &type, uint64_t handle) {
  Slot *slot = slot_at(static_cast<uint32_t>(handle));
  if (slot) {
    uint64_t state = slot->state.load(std::memory_order_relaxed);
    while ((state & kOpen) && generation(state) == generation(handle)) {
      if (!slot->state.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) continue;
      if (slot->type == &type) return slot->object;
      handle_release(handle);
      break;
    }
  }
  refuse(type, handle);
  return nullptr;
}

void handle_release(uint64_t handle) {
  Slot *slot = slot_at(static_cast<uint32_t>(handle));
  const HandleType *type = slot->type;
  void *object = slot->object;
  // After this the slot may be taken again.
  if ((slot->state.fetch_sub(1, std::memory_order_acq_rel) & kUsers) == 1) type->destroy(object);
}

sqz_status handle_close(const HandleType &type, uint64_t handle) {
  if (!handle_acquire(type, handle)) return SQZ_INVALID;
  const bool open = slot_at(static_cast<uint32_t>(handle))->state.fetch_and(~kOpen, std::memory_order_acq_rel) & kOpen;
  if (open) handle_release(handle);  // for the handle itself
  handle_release(handle);
  return open ? SQZ_OK : refuse(type, handle);  // not open: another thread closed it meanwhile
}

}  // namespace sqz
