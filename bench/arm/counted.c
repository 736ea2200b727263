// Runs operations of the C library once each, for a QEMU plugin to count: one per line of standard input. Each gives a
// line of output, the kernel that ran last. Each operation runs once before it is counted, to exclude what happens on
// first use. There are marks before and after the second run, so of the plugin's intervals 0, 1, 2, ... the odd ones are
// the operations, in order.
static __attribute__((noinline)) void mark(void) { __asm__ volatile("hint #100" ::: "memory"); }

#define MEASURED(...)           \
  for (int i = 0; i < 2; ++i) { \
    if (i) mark();              \
    __VA_ARGS__;                \
    if (i) mark();              \
  }

#include "../operations.h"
#include "measure/measure.h"

int main(void) {
  check(sqz_set_num_threads(1));
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    run_line(line);
    printf("%s\n", sqz_measure_last_kernel());
  }
  return 0;
}
