// Properties of csrc/schedule, over many sizes and numbers of threads. No kernel runs. test_schedule.py builds this
// with a trap on integer overflow and runs one group of checks by name.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <vector>

#include "schedule/attention.h"
#include "schedule/pwconv.h"
#include "schedule/rows.h"

namespace {

using namespace sqz;

char now[256];  // the case at hand, for the message

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      fprintf(stderr, "%s:%d: expected %s, for %s\n", __FILE__, __LINE__, #condition, now); \
      exit(1);                                                                              \
    }                                                                                       \
  } while (0)

void trapped(int) {
  fprintf(stderr, "undefined arithmetic, such as an overflow, for %s\n", now);
  _Exit(1);
}

constexpr int kThreads[] = {1, 2, 3, 4, 7, 8, 16, 64, 256};

std::mt19937_64 generator(1);
int64_t below(int64_t n) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(n)); }
// Small and large numbers up to `most` alike.
int64_t any(int64_t most) { return below(at_most(INT64_C(1) << below(63), most) + 1); }

// ---- rows ----------------------------------------------------------------------------------------------------------

void check_rows(int64_t count, int64_t grain, int threads) {
  snprintf(now, sizeof now, "%lld rows, grain %lld, %d threads", (long long)count, (long long)grain, threads);
  const RowSchedule s(count, grain, threads);
  CHECK(s.tasks <= 4 * int64_t{threads});
  CHECK((s.tasks == 0) == (count == 0));
  int64_t next = 0;
  for (int64_t i = 0; i < s.tasks; ++i) {
    const RowChunk chunk = s.task(i);
    CHECK(chunk.begin == next && chunk.end > chunk.begin && chunk.end <= count);
    CHECK(chunk.end - chunk.begin == s.chunk || i == s.tasks - 1);
    next = chunk.end;
  }
  CHECK(next == count);
  if (s.tasks > 1) CHECK(s.chunk >= at_most(grain, count) / 2);  // equal chunks may halve the last grain
  if (threads > 1 && count / grain >= threads) CHECK(s.tasks > threads / 2);
  CHECK(s.tasks <= threads || count / grain >= 2 * threads);  // more than a task per thread only if there are many
  CHECK(s.wakes == (count / grain + (count % grain > 0) > 4));
}

void test_rows() {
  for (int threads : kThreads) {
    for (int64_t count = 0; count < 200; ++count)
      for (int64_t grain : {1, 2, 3, 22, 100, 16384}) check_rows(count, grain, threads);
    for (int64_t count : {INT64_MAX, INT64_MAX - 1, INT64_MAX / 2})
      for (int64_t grain : {INT64_C(1), kGrain, INT64_MAX}) check_rows(count, grain, threads);
    for (int i = 0; i < 2000; ++i) check_rows(any(INT64_MAX - 1), 1 + any(1 << 20), threads);
  }
  for (int64_t work : {INT64_C(1), INT64_C(768), INT64_C(1) << 59, INT64_MAX}) CHECK(row_grain(work) >= 1);
  // A layer of the model: 16 rows are worth a second thread, but not worth waking it.
  const RowSchedule few(16, row_grain(768), 2), many(128, row_grain(768), 2);
  CHECK(few.tasks == 2 && few.chunk == 8 && !few.wakes);
  CHECK(many.tasks == 8 && many.chunk == 16 && many.wakes);
}

// ---- attention -----------------------------------------------------------------------------------------------------

constexpr int64_t kBlock = 24;

void check_attention(const std::vector<int32_t> &q, const std::vector<int32_t> &k, int64_t heads, int threads,
                     bool each_task = true) {
  const AttentionSizes sizes = {static_cast<int64_t>(q.size()) - 1, q.data(), k.data(), heads};
  snprintf(now, sizeof now, "%lld sequences, %d queries, %d keys, %lld heads, %d threads", (long long)sizes.batch,
           q.back(), k.back(), (long long)heads, threads);
  std::vector<AttentionSchedule::Entry> entries(sizes.batch);
  const AttentionSchedule s(sizes, kBlock, threads, entries.data());
  CHECK(s.tasks() >= 0);
  CHECK((s.tasks() == 0) == (q.back() == 0 || heads == 0));
  if (s.tasks() > 0) {
    CHECK(s.task(0).begin == 0 && s.task(0).head == 0);
    const AttentionTask last = s.task(s.tasks() - 1);
    CHECK(last.end == sizes.queries(last.sequence) && last.head == heads - 1);
  }
  if (!each_task) return;

  // A quarter of a thread's share of the work, or all of it for one thread, and at most one block more.
  const double share = static_cast<double>(sizes.pairs()) * heads / (threads == 1 ? 1 : 4 * threads);
  std::vector<int> seen(sizes.batch);
  int64_t covered = 0;
  AttentionTask before = {-1, 0, 0, 0};
  for (int64_t i = 0; i < s.tasks(); ++i) {
    const AttentionTask t = s.task(i);
    CHECK(t.sequence >= 0 && t.sequence < sizes.batch && t.head >= 0 && t.head < heads);
    CHECK(t.begin >= 0 && t.begin < t.end && t.end <= sizes.queries(t.sequence));
    CHECK(t.begin % kBlock == 0);
    CHECK((t.end - t.begin) * sizes.keys(t.sequence) <=
          share + kBlock * sizes.keys(t.sequence) + at_most(heads, 4 * threads));
    const bool same_head = t.sequence == before.sequence && t.head == before.head;
    const bool next_head = t.sequence == before.sequence && t.head == before.head + 1;
    if (before.sequence >= 0 && !same_head) CHECK(before.end == sizes.queries(before.sequence));
    if (same_head) CHECK(t.begin == before.end);
    if (!same_head) CHECK(t.begin == 0);
    if (!same_head && !next_head) {  // another sequence: none comes twice, and all heads of the one before are done
      CHECK(t.head == 0 && !seen[t.sequence]);
      if (before.sequence >= 0) {
        CHECK(before.head == heads - 1);
        CHECK(sizes.pairs(t.sequence) / 2 <= sizes.pairs(before.sequence));  // the heaviest first, within a factor of 2
      }
      seen[t.sequence] = 1;
    }
    covered += t.end - t.begin;
    before = t;
  }
  CHECK(covered == heads * q.back());
}

void test_attention() {
  for (int threads : kThreads) {
    for (int64_t heads : {0, 1, 2, 12, 40}) {
      check_attention({0}, {0}, heads, threads);
      check_attention({0, 0}, {0, 0}, heads, threads);
      check_attention({0, 5}, {0, 0}, heads, threads);  // queries without keys
      check_attention({0, 0}, {0, 5}, heads, threads);
      for (int32_t n = 1; n < 100; ++n) check_attention({0, n}, {0, n}, heads, threads);
      for (int32_t n : {128, 384, 512, 4000}) check_attention({0, n, n + 1}, {0, n, n + 1}, heads, threads);
    }
    for (int i = 0; i < 500; ++i) {
      std::vector<int32_t> q = {0}, k = {0};
      const int64_t batch = 1 + below(20), most = 1 + any(800);
      for (int64_t b = 0; b < batch; ++b) {
        q.push_back(q.back() + static_cast<int32_t>(below(most)));
        k.push_back(below(2) ? q.back() > k.back() ? q.back() : k.back()
                             : k.back() + static_cast<int32_t>(below(most)));
      }
      check_attention(q, k, 1 + below(20), threads);
    }
    // The largest sizes that a call may have.
    check_attention({0, INT32_MAX}, {0, INT32_MAX}, 1 << 24, threads, false);
    check_attention({0, INT32_MAX}, {0, 0}, 1 << 24, threads, false);
    check_attention({0, 1, INT32_MAX}, {0, INT32_MAX - 1, INT32_MAX}, 1 << 24, threads, false);
    check_attention({0, INT32_MAX - 1, INT32_MAX}, {0, 1, INT32_MAX}, 1, threads, false);
  }
}

// ---- pointwise convolution -----------------------------------------------------------------------------------------

PwconvSchedule pwconv(const PwconvSizes &z, int threads, int64_t block_bytes = kBlockBytes) {
  snprintf(now, sizeof now,
           "%lld rows, %lld to %lld channels, %lld groups, %s, quantised in %lld, %d threads, cache %lld",
           (long long)z.rows, (long long)z.c_in, (long long)z.c_out, (long long)z.groups, z.int8 ? "int8" : "float",
           (long long)z.groups_out, threads, (long long)block_bytes);
  const PwconvSchedule s(z, threads, block_bytes);
  CHECK(s.tasks() >= 0);
  CHECK((s.tasks() == 0) == (z.rows == 0 || z.c_out == 0));
  CHECK((s.store.parts > 0) == (z.groups_out > 0));
  if (z.groups_out > 0) {
    CHECK(z.groups_out % s.store.parts == 0);
    const bool joined = s.store.parts > 1 && s.store.parts < z.groups_out;
    CHECK(!joined || s.store.width <= kStoreChannels);
    CHECK(!joined || threads == 1 || s.tasks() >= 2 * threads || z.rows == 0);
    CHECK(s.store.width * s.store.parts == z.c_out);
    CHECK(s.store.ld > s.store.width && s.store.ld % 16 == 0);
    CHECK(s.store.scratch_floats() >= kStoreRows * s.store.width);
  }
  return s;
}

// The block of x of a task fits in the cache. A task has enough work to be worth its start, and not more than an eighth
// of a thread's share unless it needs that to have enough.
void check_limits(const PwconvSchedule &s, int threads, int64_t block_bytes) {
  const PwconvSizes &z = s.sizes;
  if (s.tasks() == 0) return;
  CHECK(s.row_block <= kStoreRows ||
        s.row_block * z.group_in() * (z.int8 ? 1 : 4) <= block_bytes + 8 * z.group_in() * (z.int8 ? 1 : 4));
  CHECK(s.row_block < z.rows + kStoreRows);
  if (z.groups_out > 0) return;
  CHECK(s.unit % 3 == 0);
  CHECK(s.units <= ceil_div(z.panels(), 3));
  if (threads == 1) CHECK(s.units == 1);
  if (s.units == 1) return;
  const double column = static_cast<double>(s.row_block) * z.group_in() * 16 * 3 / (z.int8 ? 4 : 1);
  const double work = column * s.unit / 3, enough = 1 << 18;
  const double share = static_cast<double>(z.panels()) * s.row_blocks / (8 * threads);
  CHECK(work > enough - s.unit);  // the rounding of less than one multiply-add per column
  CHECK(s.unit <= share + 3 || work <= enough + column);
}

void check_pwconv(const PwconvSizes &z, int threads, int64_t block_bytes = kBlockBytes) {
  const PwconvSchedule s = pwconv(z, threads, block_bytes);
  check_limits(s, threads, block_bytes);
  if (s.tasks() > 100000 || z.rows * z.panels() > (1 << 17)) return;
  std::vector<char> done(z.rows * z.panels());
  for (int64_t i = 0; i < s.tasks(); ++i) {
    const PwconvTask t = s.task(i);
    CHECK(t.row_begin >= 0 && t.row_begin < t.row_end && t.row_end <= z.rows);
    CHECK(t.panel_begin >= 0 && t.panel_begin < t.panel_end && t.panel_end <= z.panels());
    for (int64_t r = t.row_begin; r < t.row_end; ++r)
      for (int64_t p = t.panel_begin; p < t.panel_end; ++p) CHECK(!done[r * z.panels() + p]++);
    if (z.groups_out > 0) {
      CHECK(t.row_end - t.row_begin <= kStoreRows);
      CHECK(t.part >= 0 && t.part < s.store.parts);
      // The panels are those that hold the part's channels, and no other part's.
      const auto channel = [&](int64_t panel) {
        const int64_t g = panel / z.panels_per_group();
        return g * z.group_out() + at_most(panel % z.panels_per_group() * 16, z.group_out());
      };
      CHECK(channel(t.panel_begin) == t.part * s.store.width);
      CHECK(t.panel_end == z.panels() ? t.part == s.store.parts - 1
                                      : channel(t.panel_end) == (t.part + 1) * s.store.width);
    } else {
      CHECK(t.part == 0);
    }
    if (i == 0) continue;
    const PwconvTask b = s.task(i - 1);
    if (z.groups_out > 0)
      CHECK(t.part == b.part ? t.row_begin == b.row_end : t.part == b.part + 1 && b.row_end == z.rows);
    else
      CHECK(t.row_begin == b.row_begin ? t.panel_begin == b.panel_end
                                       : b.panel_end == z.panels() && t.row_begin == b.row_end);
  }
  CHECK(std::all_of(done.begin(), done.end(), [](char n) { return n == 1; }));
}

// Each task of each part comes once. A thread's run of tasks has its share of each part, in order.
void check_parts(const std::vector<int64_t> &tasks, int threads) {
  const int count = static_cast<int>(tasks.size());
  int64_t all = 0;
  for (int64_t n : tasks) all += n;
  snprintf(now, sizeof now, "%d parts, %lld tasks, %d threads", count, (long long)all, threads);
  std::vector<int64_t> next(count);
  int64_t i = 0;
  for (int thread = 0; thread < threads; ++thread) {
    for (int p = 0; p < count; ++p) {
      const int64_t end = static_cast<int64_t>(static_cast<__int128>(tasks[p]) * (thread + 1) / threads);
      for (; next[p] < end; ++next[p], ++i) {
        const PartTask t = part_task(count, tasks.data(), threads, i);
        CHECK(t.part == p && t.task == next[p]);
        if (all > 100000) break;
      }
      i += end - next[p];
      next[p] = end;
    }
  }
  CHECK(i == all && next == tasks);
}

void test_parts() {
  for (int threads : kThreads) {
    for (int64_t a = 0; a < 20; ++a)
      for (int64_t b = 0; b < 20; ++b) check_parts({a, b}, threads), check_parts({b, 7, a, 0, b}, threads);
    check_parts({16, 16, 16}, threads);
    check_parts({INT64_MAX / 8, 0, INT64_MAX / 8, 1}, threads);
  }
}

void test_pwconv() {
  test_parts();
  for (int threads : kThreads) {
    for (bool int8 : {false, true}) {
      for (int64_t rows : {0, 1, 24, 33, 257})
        for (int64_t groups : {1, 2, 4, 12})
          for (int64_t in : {0, 1, 64, 768})
            for (int64_t out : {0, 1, 5, 16, 17, 64, 192})
              for (int64_t groups_out : {int64_t{0}, int64_t{1}, groups, groups * at_least(1, out)})
                check_pwconv({rows, groups, groups * in, groups * out, int8, groups_out}, threads);
      for (int i = 0; i < 1000; ++i) {
        const int64_t groups = 1 + any(16), groups_out = below(2) * (1 + any(16));
        const int64_t out = groups * at_least(1, groups_out) * any(32);
        check_pwconv({any(3000), groups, groups * any(3000), out, int8, groups_out}, threads, any(INT64_C(1) << 40));
      }
      // The largest sizes that a call may have.
      const int64_t most = INT64_C(1) << 28, rows = INT64_C(1) << 58;
      for (int64_t groups_out : {0, 1, 4}) {
        check_pwconv({INT64_MAX, 1, 0, 0, int8, groups_out}, threads);
        check_pwconv({INT64_MAX, most, most, 0, int8, groups_out}, threads);
        check_pwconv({rows / 4, 1, 1, 4, int8, groups_out}, threads);
        check_pwconv({rows / most, 1, most, most, int8, groups_out}, threads);
        check_pwconv({rows / most, most, most, most, int8, groups_out}, threads);
        check_pwconv({1, 1, most, most, int8, groups_out}, threads);
      }
    }
  }
  // Layers of the model, 128 tokens.
  const PwconvSchedule one = pwconv({128, 4, 768, 768, false, 0}, 1), two = pwconv({128, 4, 768, 768, false, 0}, 2);
  CHECK(one.row_block == 128 && one.tasks() == 1);
  CHECK(two.row_block == 128 && two.unit == 3 && two.tasks() == 16);
  const PwconvSchedule store = pwconv({128, 4, 768, 3072, true, 4}, 2);
  CHECK(store.store.parts == 4 && store.store.width == 768 && store.tasks() == 12);
  // Quantised groups of 24 channels do not begin where panels do.
  CHECK(pwconv({128, 1, 768, 768, true, 32}, 2).store.parts == 1);
  // Heads of 64 channels are joined to parts of 192, four whole tiles; not if threads would have nothing to do.
  CHECK(pwconv({128, 4, 768, 768, true, 12}, 2).store.parts == 4);
  CHECK(pwconv({16, 4, 768, 768, true, 12}, 2).store.parts == 4);
  CHECK(pwconv({16, 4, 768, 768, true, 12}, 4).store.parts == 12);
}

}  // namespace

int main(int count, char **arguments) {
  for (int signal_number : {SIGILL, SIGTRAP}) signal(signal_number, trapped);
  const char *name = count == 2 ? arguments[1] : "";
  if (strcmp(name, "rows") == 0)
    test_rows();
  else if (strcmp(name, "attention") == 0)
    test_attention();
  else if (strcmp(name, "pwconv") == 0)
    test_pwconv();
  else
    return fprintf(stderr, "expected rows, attention or pwconv, got '%s'\n", name), 2;
  return 0;
}
