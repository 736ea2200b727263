// Pointwise convolution: a task is a block of rows times a run of panels of 16 output channels.
#ifndef SQZ_SCHEDULE_PWCONV_H_
#define SQZ_SCHEDULE_PWCONV_H_

#include "schedule/sizes.h"

namespace sqz {

// At most 2^28 channels, and rows * c_out at most 2^58.
struct PwconvSizes {
  int64_t rows, groups, c_in, c_out;
  bool int8;           // the weights are int8
  int64_t groups_out;  // the result is quantised in so many groups; 0: it stays float

  int64_t group_in() const { return c_in / groups; }
  int64_t group_out() const { return c_out / groups; }
  int64_t panels_per_group() const { return ceil_div(group_out(), 16); }
  int64_t panels() const { return groups * panels_per_group(); }
};

constexpr int64_t kPanelBlock = 3;  // tasks have a multiple of so many panels, or what is left

// A block of this many rows is quantised as soon as all channels of a quantisation group are computed. Until then it is
// in scratch memory as float.
constexpr int64_t kStoreRows = 48;       // whole tiles of 6 and of 8 rows
constexpr int64_t kStoreChannels = 384;  // the most of a part that joins groups, so that the block stays in L2

// Each part of a row is computed and quantised by one task. A part is one or more quantisation groups if all of them
// begin where a panel begins; else the whole row is one part.
struct StoreWidths {
  int64_t parts;  // of a row; 0: the result stays float
  int64_t width;  // channels of a part
  int64_t ld;     // row stride in scratch memory; never a power of two, because such rows would share cache sets

  int64_t scratch_floats() const { return kStoreRows * ld; }
};
StoreWidths store_widths(const PwconvSizes &sizes, int threads);

struct PwconvTask {
  int64_t row_begin, row_end;
  int64_t panel_begin, panel_end;  // of all groups' panels, numbered through
  int64_t part;                    // of the rows, where the result is quantised; else 0
};

// Half of L2 holds a block's part of x and leaves room for a column of panels.
constexpr int64_t kBlockBytes = 384 * 1024;

struct PwconvSchedule {
  PwconvSizes sizes;
  StoreWidths store;
  int64_t row_block, row_blocks;
  int64_t unit, units;  // panels of a task, and tasks of a row block; where the result is quantised, units are parts

  PwconvSchedule() {}
  PwconvSchedule(const PwconvSizes &sizes, int threads, int64_t block_bytes = kBlockBytes);
  int64_t tasks() const { return units * row_blocks; }
  PwconvTask task(int64_t i) const;
};

// Several convolutions of one x: which task of which of them is task i of all. A thread's run of successive tasks has
// the same share of each convolution, so that it computes the same channels of queries, keys and values: those of the
// heads whose attention it computes next.
struct PartTask {
  int part;
  int64_t task;
};
// `tasks` has the number of tasks of each of the `count` convolutions; i is less than their sum.
PartTask part_task(int count, const int64_t *tasks, int threads, int64_t i);

}  // namespace sqz

#endif  // SQZ_SCHEDULE_PWCONV_H_
