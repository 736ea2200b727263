#include "schedule/pwconv.h"

namespace sqz {

namespace {

constexpr int64_t kTileHeight = 8;               // of the AVX-512 tiles
constexpr int64_t kMinRows = 24;                 // because each block reads the weights again
constexpr int64_t kTaskWork = INT64_C(1) << 18;  // float multiply-adds that justify a task, about 2 us
constexpr int64_t kWorkInt8 = 4;                 // int8 multiply-adds that take the time of a float one

}  // namespace

StoreWidths store_widths(const PwconvSizes &s, int threads) {
  if (s.groups_out == 0) return {0, 0, 0};
  int64_t parts = s.groups_out;
  const int64_t n = s.c_out / s.groups_out;
  for (int64_t g = 1; g < s.groups_out && s.c_out > 0; ++g)
    if (g * n % s.group_out() % 16 != 0) parts = 1;
  // Join groups, such as the heads of attention, to parts of whole tiles of kPanelBlock panels.
  const auto tiles = [&](int64_t joined) { return ceil_div(n * joined, 16 * kPanelBlock) * (s.groups_out / joined); };
  int64_t best = 1;
  for (int64_t joined = 2; joined < parts && joined * n <= kStoreChannels; ++joined) {
    const bool enough = threads == 1 || parts / joined * ceil_div(s.rows, kStoreRows) >= 2 * threads;
    if (parts % joined == 0 && enough && tiles(joined) < tiles(best)) best = joined;
  }
  parts /= best;
  const int64_t width = s.c_out / parts;
  return {parts, width, ceil_div(width, 16) * 16 + 16};
}

PwconvSchedule::PwconvSchedule(const PwconvSizes &s, int threads, int64_t block_bytes)
    : sizes(s), store(store_widths(s, threads)), row_block(1), row_blocks(0), unit(1), units(0) {
  const int64_t panels = s.panels();
  if (panels == 0 || s.rows == 0) return;
  if (store.parts) {
    row_block = kStoreRows;
    row_blocks = ceil_div(s.rows, row_block);
    units = store.parts;
    return;
  }
  // Blocks of equal height.
  const int64_t most_rows = at_least(kMinRows, block_bytes / (s.int8 ? 1 : 4) / at_least(1, s.group_in()));
  row_block = ceil_div(ceil_div(s.rows, ceil_div(s.rows, most_rows)), kTileHeight) * kTileHeight;
  row_blocks = ceil_div(s.rows, row_block);
  // One thread needs no more than one task per row block. Several need about eight each, so that one that is held up
  // can be helped.
  const int64_t columns = ceil_div(panels, kPanelBlock);
  const int64_t column_work = row_block * s.group_in() * 16 * kPanelBlock / (s.int8 ? kWorkInt8 : 1);
  const int64_t enough = threads == 1 ? columns : columns * row_blocks / (8 * threads);
  unit = kPanelBlock * at_least(at_most(ceil_div(kTaskWork, column_work + 1), columns), enough);
  units = ceil_div(panels, unit);
}

PwconvTask PwconvSchedule::task(int64_t i) const {
  if (!store.parts) {
    // Consecutive tasks take consecutive panels, so that a thread reads the packed weights in order.
    const int64_t row = i / units * row_block, panel = i % units * unit;
    return {row, row + at_most(row_block, sizes.rows - row), panel, at_most(panel + unit, sizes.panels()), 0};
  }
  // Blocks are low here, so consecutive tasks take consecutive blocks and reuse the same weights.
  const int64_t part = i / row_blocks, row = i % row_blocks * row_block, column = part * store.width;
  const auto panel_of = [&](int64_t c) {
    return c / sizes.group_out() * sizes.panels_per_group() + c % sizes.group_out() / 16;
  };
  return {row, row + at_most(row_block, sizes.rows - row), panel_of(column), panel_of(column + store.width), part};
}

PartTask part_task(int count, const int64_t *tasks, int threads, int64_t i) {
  // The first task of a thread's share of n tasks: n * thread / threads, without overflow.
  const auto first = [&](int64_t n, int64_t thread) { return n / threads * thread + n % threads * thread / threads; };
  const auto begin = [&](int64_t thread) {
    int64_t sum = 0;
    for (int p = 0; p < count; ++p) sum += first(tasks[p], thread);
    return sum;
  };
  int64_t low = 0, high = threads;  // find the last thread whose share begins at or before i
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (begin(middle) <= i ? low : high) = middle;
  }
  i -= begin(low);
  for (int p = 0;; ++p) {
    const int64_t from = first(tasks[p], low), n = first(tasks[p], low + 1) - from;
    if (i < n) return {p, from + i};
    i -= n;
  }
}

}  // namespace sqz
