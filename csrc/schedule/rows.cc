#include "schedule/rows.h"

namespace sqz {

RowSchedule::RowSchedule(int64_t count, int64_t grain, int threads)
    : count(count), chunk(count), tasks(count > 0), wakes(ceil_div(count, grain) > kWakeTasks) {
  int64_t most = ceil_div(count, grain);
  most = at_most(most, most < int64_t{4} * threads ? threads : int64_t{4} * threads);
  if (most <= 1) return;
  chunk = ceil_div(count, most);
  tasks = ceil_div(count, chunk);
}

}  // namespace sqz
