// Properties of csrc/handles.h; test_handles.py builds and runs this. By hand: with -fsanitize=thread or address.
#include "handles.h"

#include <stdio.h>
#include <stdlib.h>

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"

namespace {

using namespace sqz;

std::atomic<int> living{0};

struct Thing {
  static const HandleType kHandle;
  uint64_t own = 0;
  Thing() { ++living; }
  ~Thing() { --living; }
};
const HandleType Thing::kHandle = {"thing", [](void *object) { delete static_cast<Thing *>(object); }};
const HandleType kOther = {"other", [](void *) { abort(); }};

uint64_t open_thing() {
  Thing *thing = new Thing;
  uint64_t handle = 0;
  CHECK(handle_open(Thing::kHandle, thing, &handle) == SQZ_OK && handle != 0);
  Held<Thing> held(handle);
  CHECK(held && &*held == thing);
  thing->own = handle;
  return handle;
}

void one_by_one() {
  const uint64_t never[] = {0, 1, UINT64_MAX, UINT64_C(1) << 32, UINT64_C(0xFFFFFFFF), (UINT64_C(1) << 32) + 99999};
  for (uint64_t handle : never) CHECK(handle_close(Thing::kHandle, handle) == SQZ_INVALID);
  std::vector<uint64_t> handles;
  for (int i = 0; i < 5000; ++i) handles.push_back(open_thing());
  CHECK(living == 5000);
  for (uint64_t handle : handles) {
    CHECK(!handle_acquire(kOther, handle) && handle_close(kOther, handle) == SQZ_INVALID);
    CHECK(Held<Thing>(handle)->own == handle);
  }
  {
    Held<Thing> held(handles[7]);  // outlives its handle
    CHECK(handle_close(Thing::kHandle, handles[7]) == SQZ_OK);
    CHECK(!Held<Thing>(handles[7]) && living == 5000 && held->own == handles[7]);
  }
  CHECK(living == 4999);
  for (uint64_t handle : handles) CHECK((handle_close(Thing::kHandle, handle) == SQZ_OK) == (handle != handles[7]));
  CHECK(living == 0);
  for (int i = 0; i < 5000; ++i) {  // slots are used again, under other numbers
    const uint64_t handle = open_thing();
    for (uint64_t old : handles) CHECK(old != handle);
    CHECK(handle_close(Thing::kHandle, handle) == SQZ_OK && !Held<Thing>(handle));
  }
}

void by_many_threads() {
  constexpr int kShared = 8;
  std::atomic<uint64_t> shared[kShared] = {};
  std::atomic<int> closed{0}, opened{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      unsigned random = static_cast<unsigned>(t) + 1;
      for (int i = 0; i < 20000; ++i) {
        random = random * 1103515245u + 12345u;
        std::atomic<uint64_t> &place = shared[(random >> 16) % kShared];
        const uint64_t handle = place.load();
        if ((random >> 24) % 4) {
          Held<Thing> held(handle);
          if (held) CHECK(held->own == handle);
        } else if (handle) {
          // Two threads may close the same handle: one succeeds.
          closed += handle_close(Thing::kHandle, handle) == SQZ_OK;
          uint64_t expected = handle;
          place.compare_exchange_strong(expected, 0);
        } else {
          const uint64_t fresh = open_thing();
          ++opened;
          uint64_t expected = 0;
          if (!place.compare_exchange_strong(expected, fresh)) closed += handle_close(Thing::kHandle, fresh) == SQZ_OK;
        }
      }
    });
  for (std::thread &thread : threads) thread.join();
  for (std::atomic<uint64_t> &place : shared) closed += place && handle_close(Thing::kHandle, place) == SQZ_OK;
  CHECK(opened > 1000 && closed == opened && living == 0);
}

}  // namespace

int main() {
  one_by_one();
  by_many_threads();
}
