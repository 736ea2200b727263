// The benchmark in C, for boards without Python: the operations of SqueezeBERT-base, or those that are asked for.
//
//     squeezeops_bench [--threads N] [--seconds S] [--tokens N] ["OPERATION WORDS..."]...
//
// It uses the public header alone, so it has no peaks and takes every sample; operations.h lists the operations. A sample
// is one call, or as many as take 0.2 ms; its output is written and its inputs are read by one call before.
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <time.h>

enum { kMost = 100000 };
static struct {
  double limit, samples[kMost], begin, end;  // seconds
  int count, calls, left;
} timer = {.limit = 0.2};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void start_measuring(void) { timer.count = -2, timer.calls = timer.left = 1, timer.begin = now(); }

// Whether to call once more. The first sample is dropped, and the second one tells how many calls make one.
static int measuring(void) {
  if (timer.left--) return 1;
  const double time = now(), sample = (time - timer.begin) / timer.calls;
  if (timer.count >= 0) timer.samples[timer.count] = sample;
  if (timer.count == -1) {
    timer.calls = sample < 0.2e-3 ? (int)(0.2e-3 / (sample > 1e-9 ? sample : 1e-9)) + 1 : 1;
    timer.end = time + timer.limit;
  }
  ++timer.count;
  timer.left = timer.calls - 1;
  timer.begin = now();
  return timer.count < 1 || (time < timer.end && timer.count < kMost);
}

#define MEASURED(...) for (start_measuring(); measuring();) { __VA_ARGS__; }

#include "operations.h"

// The operations of the model, where T is the number of tokens, and 12T its multiple.
static const char *const kModel[] = {
    "pwconv f32 T 768 768 4 none 0",  "pwconv f32 T 768 768 1 none 1",
    "pwconv f32 T 768 3072 4 gelu 0", "pwconv f32 T 3072 768 4 none 1",
    "pwconv f16 T 768 768 4 none 0",  "pwconv f16 T 768 768 1 none 1",
    "pwconv f16 T 768 3072 4 gelu 0", "pwconv f16 T 3072 768 4 none 1",
    "pwconv s8 T 768 768 4 none 0",   "pwconv s8 T 768 768 1 none 1",
    "pwconv s8 T 768 3072 4 gelu 0",  "pwconv s8 T 3072 768 4 none 1",
    "quantize_rows T 768 4",          "quantize_rows T 768 1",
    "quantize_rows T 3072 4",         "attention f32 T 768 12",
    "attention s8 T 768 12",          "layer_norm T 768 0",
    "softmax 12T T",                  "activation gelu 3072T",
    "activation tanh 768T",           "embedding_layer_norm T 768",
    "embedding T 768",                "mean_pool T 768",
    "l2_normalize T 768",             "layer f32 T f32",
    "layer f16 T f32",                "layer s8 T s8",
};

static void with_tokens(const char *line, int tokens, char *out, size_t size) {
  for (size_t at = 0; at + 24 < size; ++line) {
    char *end = (char *)line;
    const long factor = *line >= '1' && *line <= '9' ? strtol(line, &end, 10) : 1;
    if (*end == 'T') {
      at += (size_t)sprintf(out + at, "%ld", factor * tokens);
      line = end;
    } else {
      out[at++] = *line;
      if (!*line) return;
    }
  }
}

static int by_time(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Interpolated, as Python's statistics.quantiles(method="inclusive") does it.
static double quartile(int which) {
  const double at = which * (timer.count - 1) / 4.0;
  const int i = (int)at;
  const double next = timer.samples[i + 1 < timer.count ? i + 1 : i];
  return timer.samples[i] + (at - i) * (next - timer.samples[i]);
}

static const char *kernel(void) {
  sqz_kernel_info info;
  for (int32_t i = 0; i < sqz_kernel_count(); ++i) {
    check(sqz_kernel_get_info(i, &info));
    if (info.in_use && !strcmp(info.op, about.op) && !strcmp(info.dtype, about.dtype)) return info.symbol;
  }
  return "-";
}

static void measure(const char *line) {
  run_line(line);
  qsort(timer.samples, (size_t)timer.count, sizeof *timer.samples, by_time);
  printf("  %-32s %11.1f us", line, 1e6 * quartile(2));
  for (int i = 3; i > 0; --i) printf(" %9.2f", about.work / quartile(i) * 1e-9);
  printf(" %-7s %7d  %s\n", about.unit, timer.count, kernel());
  fflush(stdout);
}

static double option(const char *name, const char *value, double least, double most) {
  char *end = NULL;
  const double number = value ? strtod(value, &end) : 0;
  if (value && *value && !*end && number >= least && number <= most) return number;
  fprintf(stderr, "%s: expected a number from %g to %g, got %s\n", name, least, most, value ? value : "none");
  exit(2);
}

int main(int count, char **words) {
  int only = 0, next = 1;
  for (; next < count && words[next][0] == '-'; next += 2) {
    const char *name = words[next], *value = next + 1 < count ? words[next + 1] : NULL;
    if (!strcmp(name, "--threads")) {
      check(sqz_set_num_threads((int64_t)option(name, value, 1, 256)));
    } else if (!strcmp(name, "--seconds")) {
      timer.limit = option(name, value, 1e-6, 3600);
    } else if (!strcmp(name, "--tokens")) {
      only = (int)option(name, value, 1, 512);
    } else {
      fprintf(stderr, "expected --threads N, --seconds S, --tokens N or an operation, got %s\n", name);
      return 2;
    }
  }
  const char *isa = sqz_isa_chosen();
  const int32_t threads = sqz_get_num_threads();
  if (!isa || threads < 1) fail(sqz_error_message());
  printf("squeezeops %s, %s, %d thread%s\n", sqz_version(), isa, threads, threads > 1 ? "s" : "");
  printf("  %-32s %14s %9s %9s %9s %-7s %7s  %s\n", "operation", "time", "p25", "median", "p75", "", "samples", "kernel");
  if (next < count) {
    while (next < count) measure(words[next++]);
    return 0;
  }
  const int tokens[] = {16, 32, 128, 384};
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; ++i) {
    if (only && i) break;
    for (size_t k = 0; k < sizeof kModel / sizeof *kModel; ++k) {
      char line[256];
      with_tokens(kModel[k], only ? only : tokens[i], line, sizeof line);
      measure(line);
    }
  }
  return 0;
}
