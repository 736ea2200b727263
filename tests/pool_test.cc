// The thread pool through the C interface: callers on many threads, of ops of every kind, while others change the
// number of threads and the instruction set, and fork. Each result must have the bits that one thread gives.
// test_sanitizers.py runs it with ThreadSanitizer and under valgrind; by itself it is a test as well.
//
//   pool_test callers JOBS | forks COUNT | executor JOBS
#include <squeezeops/squeezeops.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

namespace {

using Floats = std::vector<float>;

// Enough rows that sleeping workers are woken.
constexpr int64_t kRows = 70, kChannels = 192, kHeads = 3, kOutputs = 96;

Floats numbers(int64_t count, uint32_t state) {
  Floats x(static_cast<size_t>(count));
  for (float &each : x) {
    state = state * 1664525u + 1013904223u;
    // Not 0: valgrind's multiply-add of AVX2 gives GELU of it another sign than the processor's.
    each = (static_cast<float>(static_cast<int32_t>(state) >> 16) + 0.5f) / 8192;
  }
  return x;
}

struct Inputs {
  Floats x = numbers(kRows * kChannels, 1), weight = numbers(kOutputs * kChannels, 2), bias = numbers(kOutputs, 3);
  Floats packed;
  std::vector<char> memory;
  void *packed_s8;  // at a multiple of 64

  Inputs() {
    packed.resize(static_cast<size_t>(sqz_pwconv_packed_size_f32(1, kChannels, kOutputs)));
    CHECK(sqz_pwconv_pack_f32(1, kChannels, kOutputs, weight.data(), SQZ_F32, packed.data()) == SQZ_OK);
    memory.resize(static_cast<size_t>(sqz_pwconv_packed_size_s8(1, kChannels, kOutputs)) + 64);
    packed_s8 = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
    CHECK(sqz_pwconv_pack_s8(1, kChannels, kOutputs, weight.data(), SQZ_F32, packed_s8) == SQZ_OK);
  }
};

// Computes into memory of its own, which the caller and the workers write and the caller reads.
using Job = std::function<Floats()>;

std::vector<Job> make_jobs(const Inputs &in) {
  const float *x = in.x.data();
  std::vector<Job> jobs;
  jobs.push_back([=] {
    Floats out(kRows * kChannels);
    CHECK(sqz_activation_f32(SQZ_ACT_GELU, kRows * kChannels, x, out.data()) == SQZ_OK);
    return out;
  });
  jobs.push_back([=] {
    Floats out(kRows * kChannels);
    CHECK(sqz_softmax_f32(kRows, kChannels, x, kChannels, nullptr, SQZ_MASK_NONE, 0, 0.5, SQZ_MASKED_ZERO, out.data(),
                          kChannels) == SQZ_OK);
    return out;
  });
  jobs.push_back([=] {  // takes no thread's time but its own
    Floats out(2 * kChannels);
    CHECK(sqz_l2_normalize_f32(2, kChannels, x, kChannels, 0, out.data(), kChannels) == SQZ_OK);
    return out;
  });
  for (bool bytes : {false, true})
    jobs.push_back([=, &in] {
      Floats out(kRows * kOutputs);
      sqz_pwconv_input input = {};
      input.rows = kRows, input.c_in = kChannels, input.x = x, input.ldx = kChannels;
      sqz_pwconv_part part = {};
      part.dtype = bytes ? SQZ_S8 : SQZ_F32, part.groups = 1, part.c_out = kOutputs, part.bias = in.bias.data();
      part.packed = bytes ? in.packed_s8 : in.packed.data();
      part.activation = SQZ_ACT_RELU, part.out = out.data(), part.ldo = kOutputs;
      CHECK(sqz_pwconv(&input, 1, &part) == SQZ_OK);
      return out;
    });
  jobs.push_back([=] {  // has scratch memory for each thread
    Floats out(kRows * kChannels);
    const int32_t offsets[] = {0, 20, 21, kRows};
    sqz_attention_f32_args args = {};
    args.batch = 3, args.q_offsets = args.k_offsets = offsets, args.heads = kHeads, args.head_size = kChannels / kHeads;
    args.q = args.k = args.v = x, args.ldq = args.ldk = args.ldv = args.ldo = kChannels;
    args.scale = 0.01, args.out = out.data();
    CHECK(sqz_attention_f32(&args) == SQZ_OK);
    return out;
  });
  return jobs;
}

// The jobs, and what they give on one thread.
struct Work {
  Inputs inputs;
  std::vector<Job> jobs = make_jobs(inputs);
  std::vector<Floats> expected;

  Work() {
    CHECK(sqz_set_num_threads(1) == SQZ_OK);
    for (const Job &job : jobs) expected.push_back(job());
    CHECK(sqz_set_num_threads(3) == SQZ_OK);
  }

  void run(int i) const {
    const auto which = static_cast<size_t>(i) % jobs.size();
    const Floats result = jobs[which]();
    CHECK(memcmp(result.data(), expected[which].data(), result.size() * sizeof(float)) == 0);
  }
};

// Those with the bits of all others.
std::vector<std::string> exact_isas() {
  std::vector<std::string> names;
  for (int32_t i = 0; i < sqz_isa_count(); ++i)
    if (sqz_isa_get_state(i) == SQZ_ISA_RUNNABLE && strcmp(sqz_isa_name(i), "sse2") != 0)
      names.emplace_back(sqz_isa_name(i));
  return names;
}

// Several callers; another thread changes all that can be changed meanwhile.
void callers(const Work &work, int jobs) {
  constexpr int kCallers = 4;
  std::atomic<bool> done{false};
  std::thread changes([&] {
    const std::vector<std::string> isas = exact_isas();
    for (unsigned i = 0; !done; ++i) {
      CHECK(sqz_set_num_threads(1 + i % 5) == SQZ_OK && sqz_get_num_threads() >= 1);
      CHECK(sqz_force_isa(i % 7 ? isas[i % isas.size()].c_str() : nullptr) == SQZ_OK && sqz_isa_chosen());
      if (i % 3 == 0) usleep(200);  // workers fall asleep now and then
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kCallers; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < jobs / kCallers; ++i) {
        work.run(i + t);
        if (i % 50 == t) sqz_free_scratch();
        if (i % 100 == t) usleep(300);
      }
    });
  for (std::thread &thread : threads) thread.join();
  done = true;
  changes.join();
  CHECK(sqz_force_isa(nullptr) == SQZ_OK && sqz_set_num_threads(3) == SQZ_OK);
}

// The child of a fork, from the main thread or another one, under callers: it has workers of its own, and a child.
void fork_once(const Work &work, int depth) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    for (int i = 0; i < 12; ++i) work.run(i);
    std::thread other([&] {
      for (int i = 0; i < 6; ++i) work.run(i);
    });
    for (int i = 0; i < 6; ++i) work.run(i);
    other.join();
    if (depth > 0) fork_once(work, depth - 1);
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void forks(const Work &work, int count) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)  // so that some forks find the pool's locks taken
    threads.emplace_back([&, t] {
      for (int i = t; !done; ++i) work.run(i);
    });
  for (int i = 0; i < count; ++i) {
    if (i % 2) {
      std::thread([&] { fork_once(work, 1); }).join();
    } else {
      fork_once(work, 1);
    }
    work.run(i);
  }
  done = true;
  for (std::thread &thread : threads) thread.join();
}

// Threads of the program in place of the pool: some shares are left out, and one calls the library again.
void executor(const Work &work, int jobs) {
  sqz_set_executor(
      [](void *context, int32_t count, sqz_share_fn share, void *argument) {
        std::vector<std::thread> threads;
        for (int32_t i = 1; i < count; ++i) threads.emplace_back([=] { share(argument, i); });
        static_cast<const Work *>(context)->run(2);
        for (std::thread &thread : threads) thread.join();
      },
      const_cast<Work *>(&work));
  for (int i = 0; i < jobs; ++i) work.run(i);
  sqz_set_executor(nullptr, nullptr);
}

}  // namespace

int main(int argc, char **argv) {
  CHECK(argc == 3);
  const Work work;
  const std::string what = argv[1];
  const int count = atoi(argv[2]);
  if (what == "callers") callers(work, count);
  if (what == "forks") forks(work, count);
  if (what == "executor") executor(work, count);
  printf("%s: %d\n", argv[1], count);
}
