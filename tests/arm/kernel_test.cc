// Every op, dtype and instruction set that runs here, through the C interface.
//
//   kernel_test write FILE    run every case on the default kernels and write the results
//   kernel_test check FILE    run every case with every instruction set forced in turn; the results must be those of
//                             FILE, which another machine wrote: to the bit where that is promised
//   kernel_test memory ISA    run every case with one instruction set for a tool that watches memory, such as valgrind,
//                             which does not keep the modes of the floating-point unit
//
// A case runs twice and must give the same: once on one thread, on dense arrays that end where readable memory ends;
// once on three threads, on arrays with gaps between rows that begin where readable memory begins, while the caller has
// set flush-to-zero and rounding up. Afterwards the test checks which kernel ran and that nothing else was written.
// Every kernel of the library's table must be run by some case.
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "measure/measure.h"

namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;
using Halves = std::vector<uint16_t>;
using Ids = std::vector<int64_t>;
using std::string;

// ---- the modes of the floating-point unit ----

#if defined(__x86_64__)
uint64_t get_modes() { return __builtin_ia32_stmxcsr() & 0xffc0u; }
void set_modes(uint64_t modes) { __builtin_ia32_ldmxcsr(static_cast<uint32_t>(modes)); }
constexpr uint64_t kFlushAndRoundUp = 0x1f80 | 0x8040 | 0x4000;
#elif defined(__aarch64__)
uint64_t get_modes() {
  uint64_t modes;
  __asm__ volatile("mrs %0, fpcr" : "=r"(modes));
  return modes;
}
void set_modes(uint64_t modes) { __asm__ volatile("msr fpcr, %0" ::"r"(modes) : "memory"); }
constexpr uint64_t kFlushAndRoundUp = 1u << 24 | 1u << 22;
#elif defined(__arm__)
uint64_t get_modes() {
  uint32_t modes;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(modes));
  return modes & 0x07ffff00u;
}
void set_modes(uint64_t modes) { __asm__ volatile("vmsr fpscr, %0" ::"r"(static_cast<uint32_t>(modes)) : "memory"); }
constexpr uint64_t kFlushAndRoundUp = 1u << 24 | 1u << 22;
#endif

// Without a fused multiply-add of vectors, or with one that flushes subnormals, floats are close but not equal.
bool floats_to_tolerance(const string &isa) {
#if defined(__arm__)
  return isa != "scalar";
#else
  return isa == "sse2";
#endif
}

// ---- inputs, the same on every machine ----

// In [-scale, scale), a power of two; the hash of golden_bits.py.
float number(uint64_t seed, uint64_t i, float scale = 2) {
  uint64_t h = i + (seed << 32) + 1;
  h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
  h = (h ^ h >> 27) * 0x94d049bb133111ebu;
  h = (h ^ h >> 31) * 0x9e3779b97f4a7c15u;
  return static_cast<float>(static_cast<int32_t>(h >> 40) - (1 << 23)) * (scale / (1 << 23));
}

Floats numbers(uint64_t seed, int64_t n, float scale = 2) {
  Floats x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = number(seed, i, scale);
  return x;
}

uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// Every exponent, subnormal numbers, infinities, NaN.
Floats every_kind(uint64_t seed, int64_t n) {
  Floats x = numbers(seed, n);
  for (float &v : x) v = float_of(bits_of(v) * 2654435761u);
  return x;
}

int64_t integer(uint64_t seed, uint64_t i, int64_t high) { return (bits_of(number(seed, i)) >> 1) % high; }

// Bits of float16 numbers: normal, subnormal, zero.
Halves halves(uint64_t seed, int64_t n) {
  Halves x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto word = static_cast<uint32_t>(integer(seed, i, 1 << 24));
    const uint32_t exponent = word % 7 ? 9 + word % 7 : 0;
    x[i] = static_cast<uint16_t>((word >> 23) << 15 | exponent << 10 | (word >> 3 & 0x3ff));
  }
  return x;
}

Bytes flags(uint64_t seed, int64_t n, int64_t of) {
  Bytes x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = integer(seed, i, of) > 0;
  return x;
}

const Floats kSpecials = [] {
  Floats x = {0,  INFINITY, NAN,  0x1p-149f, 0x1p-126f, 0.625f, 1,     5.5f,    13.1f,
              14, 20,       44.5, 87.33f,    88.73f,    1e10f,  3e38f, 0.3466f, 0x1p-100f};
  for (size_t i = 0, n = x.size(); i < n; ++i) x.push_back(-x[i]);
  return x;
}();

// ---- memory that ends where arrays do ----

string failing_case;  // for the handler of signals

void on_signal(int signal) {
  const string message = "\nFAILED: " + failing_case + ": signal " + std::to_string(signal) +
                         (signal == SIGILL ? " (an instruction that this processor lacks)\n" : "\n");
  if (write(2, message.data(), message.size()) < 0) _exit(3);
  _exit(2);
}

// Places for arrays, each between pages that can be neither read nor written.
class Arena {
 public:
  static constexpr size_t kSize = size_t{1} << 20, kPage = 4096, kBand = 256;

  // The next place, with room for `bytes` bytes at its beginning or its end.
  uint8_t *take(size_t bytes, bool at_end) {
    if (bytes + kBand > kSize) abort();
    if (used_ == places_.size()) {
      void *p = mmap(nullptr, kSize + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED || mprotect(static_cast<char *>(p) + kPage, kSize, PROT_READ | PROT_WRITE)) abort();
      places_.push_back(static_cast<uint8_t *>(p) + kPage);
    }
    uint8_t *place = places_[used_++];
    return at_end ? place + kSize - bytes : place;
  }
  void reset() { used_ = 0; }

 private:
  std::vector<uint8_t *> places_;
  size_t used_ = 0;
};

constexpr uint8_t kCanary = 0xd7;  // as a float, -4.7e14: wrong in any result

template <class T>
struct Rows {
  T *p;
  int64_t ld;
};
using Matrix = Rows<float>;
using ByteMatrix = Rows<uint8_t>;

// Between rows: a read of it must change the result.
template <class T>
constexpr T kGap = 99;
template <>
constexpr float kGap<float> = NAN;

// The arrays of one run of a case.
class Call {
 public:
  Call(Arena &arena, int variant) : arena_(arena), at_end_(variant == 0), gap_(variant == 0 ? 0 : 5) { arena.reset(); }

  template <class T>
  T *in(const std::vector<T> &values) {
    return static_cast<T *>(place(values.data(), values.size() * sizeof(T), {}));
  }
  template <class T>
  Rows<T> in(const std::vector<T> &values, int64_t rows, int64_t n) {
    const int64_t ld = n + gap_;
    std::vector<T> spread(extent(rows, n, ld), kGap<T>);
    for (int64_t i = 0; i < rows; ++i) std::copy_n(values.begin() + i * n, n, spread.begin() + i * ld);
    return {in(spread), ld};
  }
  template <class T = float>
  Rows<T> out(int64_t rows, int64_t n) {
    return {static_cast<T *>(output(rows, n, n + gap_, sizeof(T))), n + gap_};
  }
  float *out(int64_t n) { return static_cast<float *>(output(1, n, n, 4)); }
  // An output that holds the input, for ops that may work in place.
  Matrix in_out(const Floats &values, int64_t rows, int64_t n) {
    const Matrix y = out(rows, n);
    for (int64_t i = 0; i < rows; ++i) std::copy_n(values.begin() + i * n, n, y.p + i * y.ld);
    return y;
  }

  struct Output {
    int64_t rows, n, ld;
    size_t element;
    bool is(size_t byte) const {
      const auto i = static_cast<int64_t>(byte / element);
      return i % ld < n && i / ld < rows;
    }
  };
  struct Result {
    size_t element;
    Bytes bytes;
  };

  // The results without gaps; returns "", or what was written that must not be.
  string finish(std::vector<Result> *results) const {
    for (const Array &a : arrays_) {
      for (size_t i = 0; i < a.before.size(); ++i)
        if (!(a.is_output && i >= a.offset && i < a.offset + a.size && a.output.is(i - a.offset)) &&
            a.begin[i] != a.before[i])
          return "wrote " + std::to_string(static_cast<long>(i) - static_cast<long>(a.offset)) +
                 " bytes into an array of " + std::to_string(a.size) + (a.is_output ? ", an output" : ", an input");
      if (!a.is_output) continue;
      Result r = {a.output.element, {}};
      for (int64_t i = 0; i < a.output.rows; ++i) {
        const uint8_t *row = a.begin + a.offset + static_cast<size_t>(i * a.output.ld) * r.element;
        r.bytes.insert(r.bytes.end(), row, row + static_cast<size_t>(a.output.n) * r.element);
      }
      results->push_back(r);
    }
    return "";
  }

 private:
  struct Array {
    uint8_t *begin;  // of the band before the array, or of the array
    size_t offset, size;
    Bytes before;
    bool is_output;
    Output output;
  };

  static size_t extent(int64_t rows, int64_t n, int64_t ld) {
    return static_cast<size_t>(rows && n ? (rows - 1) * ld + n : 0);
  }
  void *output(int64_t rows, int64_t n, int64_t ld, size_t element) {
    const size_t count = extent(rows, n, ld);
    const Bytes blank(count * element, kCanary);
    void *p = place(blank.data(), blank.size(), {n ? rows : 0, n, ld, element});
    arrays_.back().is_output = true;
    return p;
  }
  void *place(const void *values, size_t size, Output output) {
    uint8_t *p = arena_.take(size, at_end_);
    if (size) memcpy(p, values, size);
    uint8_t *begin = at_end_ ? p - Arena::kBand : p;
    memset(at_end_ ? begin : p + size, kCanary, Arena::kBand);
    arrays_.push_back(
        {begin, at_end_ ? Arena::kBand : 0, size, Bytes(begin, begin + Arena::kBand + size), false, output});
    return p;
  }

  Arena &arena_;
  bool at_end_;
  int64_t gap_;
  std::vector<Array> arrays_;
};

// ---- running the cases ----

// The kernels that would run.
std::vector<sqz_kernel_info> kernels_in_use() {
  std::vector<sqz_kernel_info> rows;
  sqz_kernel_info info;
  for (int32_t i = 0; i < sqz_kernel_count(); ++i)
    if (sqz_kernel_get_info(i, &info) == SQZ_OK && info.in_use) rows.push_back(info);
  return rows;
}

enum Exactness {
  kUsual,
  kExact,    // integers, copies, int8 sums: equal on every instruction set
  kRounded,  // a small difference becomes one of a rounded probability, 1/254
  kWild      // overflow and underflow turn small differences into large ones
};

struct Run {
  Bytes &expected;  // results of another machine; of this one if `writing`
  const bool writing;
  const string isa;           // forced; "" for the default
  size_t at = 0;              // in `expected`
  bool to_tolerance = false;  // floats are close to the expected ones, not equal
  bool keeps_modes = true;    // whether the processor does
  Arena arena;
  uint64_t modes = get_modes();
  int cases = 0, wrong = 0;
  std::set<string> kernels;

  Run(Bytes &results, bool write, const char *forced = nullptr)
      : expected(results), writing(write), isa(forced ? forced : "") {}

  void fail(const string &name, const string &why) {
    if (++wrong <= 10)
      fprintf(stderr, "FAILED: %s on %s: %s\n", name.c_str(), isa.empty() ? "the default" : isa.c_str(), why.c_str());
  }

  // The kernel that must run according to the registry.
  string symbol(const string &op, const string &dtype) const {
    for (const sqz_kernel_info &row : kernels_in_use())
      if (op == row.op && dtype == row.dtype) return row.symbol;
    return "no kernel";
  }

  void operator()(const string &op, const string &dtype, const string &what, Exactness exactness,
                  const std::function<sqz_status(Call &)> &body) {
    const string name = op + " " + dtype + " " + what;
    failing_case = name + " on " + (isa.empty() ? "the default" : isa);
    ++cases;
    const string kernel = symbol(op, dtype);
    const size_t start = at;
    for (int variant = 0; variant < 2; ++variant) {
      const uint64_t wanted = variant ? kFlushAndRoundUp : modes;
      sqz_set_num_threads(variant ? 3 : 1);
      Call call(arena, variant);
      set_modes(wanted);
      const sqz_status status = body(call);
      const uint64_t after = get_modes();
      set_modes(modes);
      if (status != SQZ_OK) fail(name, sqz_error_message());
      if (after != wanted && keeps_modes) fail(name, "changed the modes of the floating-point unit");
      if (sqz_measure_last_kernel() != kernel) fail(name, sqz_measure_last_kernel() + (" ran in place of " + kernel));
      kernels.insert(sqz_measure_last_kernel());
      std::vector<Call::Result> results;
      const string trouble = call.finish(&results);
      if (!trouble.empty()) fail(name, trouble + (variant ? " (gaps)" : " (dense)"));
      const Bytes found = encode(name, results);
      if (writing && variant == 0) expected.insert(expected.end(), found.begin(), found.end());
      compare(name, results, found, exactness, variant, start);
    }
  }

 private:
  static Bytes encode(const string &name, const std::vector<Call::Result> &results) {
    Bytes all(name.begin(), name.end());
    all.push_back(0);
    for (const Call::Result &r : results) all.insert(all.end(), r.bytes.begin(), r.bytes.end());
    return all;
  }

  void compare(const string &name, const std::vector<Call::Result> &results, const Bytes &found, Exactness exactness,
               int variant, size_t start) {
    size_t p = start;
    at = p + found.size();
    if (at > expected.size() || memcmp(expected.data() + p, found.data(), name.size() + 1) != 0) {
      fprintf(stderr, "FAILED: %s: the file of expected results has other cases\n", name.c_str());
      exit(2);
    }
    const bool close = exactness != kExact && to_tolerance;
    p += name.size() + 1;
    for (const Call::Result &r : results) {
      for (size_t i = 0; i < r.bytes.size(); i += r.element, p += r.element) {
        if (memcmp(expected.data() + p, r.bytes.data() + i, r.element) == 0) continue;
        if (close && exactness == kWild) continue;
        const string where = "element " + std::to_string(i / r.element) + (variant ? " (gaps, threads, modes)" : "");
        if (r.element == 1) {
          fail(name, where + ": " + std::to_string(r.bytes[i]) + " in place of " + std::to_string(expected[p]));
          return;
        }
        float actual, wanted;
        memcpy(&actual, r.bytes.data() + i, 4);
        memcpy(&wanted, expected.data() + p, 4);
        if (isnan(actual) && isnan(wanted)) continue;
        const float least = exactness == kRounded ? 0.02f : 2e-5f;
        if (close && fabsf(actual - wanted) <= least + 2e-4f * fabsf(wanted)) continue;
        char text[120];
        snprintf(text, sizeof text, ": %.9g (%08x) in place of %.9g (%08x)", actual, bits_of(actual), wanted,
                 bits_of(wanted));
        fail(name, where + text);
        return;
      }
    }
  }
};

// ---- the cases ----

const sqz_activation kActivations[] = {SQZ_ACT_NONE, SQZ_ACT_GELU, SQZ_ACT_RELU, SQZ_ACT_TANH, SQZ_ACT_GELU_TANH};

string size_name(int64_t rows, int64_t k, int64_t n, int64_t groups) {
  return std::to_string(rows) + "x" + std::to_string(k) + "to" + std::to_string(n) + "g" + std::to_string(groups);
}

struct Packed {
  Floats f32;
  Halves f16;
  Bytes s8;
};

Packed pack(int64_t groups, int64_t c_in, int64_t c_out, const Floats &weight) {
  Packed p;
  p.f32.resize(static_cast<size_t>(sqz_pwconv_packed_size_f32(groups, c_in, c_out)));
  p.f16.resize(static_cast<size_t>(sqz_pwconv_packed_size_f16(groups, c_in, c_out)));
  p.s8.resize(static_cast<size_t>(sqz_pwconv_packed_size_s8(groups, c_in, c_out)));
  if (sqz_pwconv_pack_f32(groups, c_in, c_out, weight.data(), SQZ_F32, p.f32.data()) ||
      sqz_pwconv_pack_f16(groups, c_in, c_out, weight.data(), SQZ_F32, p.f16.data()) ||
      sqz_pwconv_pack_s8(groups, c_in, c_out, weight.data(), SQZ_F32, p.s8.data())) {
    fprintf(stderr, "FAILED: packing: %s\n", sqz_error_message());
    exit(2);
  }
  return p;
}

sqz_pwconv_input input_of(const Matrix &x, int64_t rows, int64_t c_in) {
  sqz_pwconv_input input = {};
  input.rows = rows, input.c_in = c_in, input.x = x.p, input.ldx = x.ld;
  return input;
}

// Without epilogue, to floats.
sqz_pwconv_part part_of(Call &c, sqz_dtype dtype, const Packed &packed, int64_t groups, int64_t rows, int64_t c_out) {
  sqz_pwconv_part part = {};
  part.dtype = dtype, part.groups = groups, part.c_out = c_out;
  part.packed = dtype == SQZ_F32   ? static_cast<const void *>(c.in(packed.f32))
                : dtype == SQZ_F16 ? static_cast<const void *>(c.in(packed.f16))
                                   : c.in(packed.s8);
  const Matrix y = c.out(rows, c_out);
  part.out = y.p, part.ldo = y.ld;
  return part;
}

void quantize(Run &run, const string &name, const Floats &x, int64_t rows, int64_t n, int64_t groups) {
  run("quantize_rows", "s8", name, kExact, [&](Call &c) {
    const Matrix m = c.in(x, rows, n);
    const ByteMatrix q = c.out<uint8_t>(rows, sqz_quantized_width_s8(n, groups));
    return sqz_quantize_rows_s8(rows, n, groups, m.p, m.ld, q.p, q.ld, c.out(rows * groups));
  });
}

// A convolution with weights of each dtype; int8 from floats, from bytes, and to bytes too.
void conv(Run &run, int64_t rows, int64_t k, int64_t n, int64_t groups, sqz_activation activation, bool epilogue) {
  const int64_t c_in = k * groups, c_out = n * groups;
  const string size = size_name(rows, c_in, c_out, groups) + (epilogue ? "-a" + std::to_string(activation) : "");
  const Floats x = numbers(61, rows * c_in), weight = numbers(62, c_out * k), bias = numbers(63, c_out),
               residual = numbers(64, rows * c_out);
  const Packed packed = pack(groups, c_in, c_out, weight);
  const auto finish = [&](Call &c, sqz_pwconv_part *part) {
    if (!epilogue) return;
    const Matrix r = c.in(residual, rows, c_out);
    part->bias = c.in(bias), part->activation = activation, part->residual = r.p, part->ldr = r.ld;
  };
  const bool elementary = epilogue && activation != SQZ_ACT_NONE && activation != SQZ_ACT_RELU;
  const std::pair<sqz_dtype, const char *> dtypes[] = {{SQZ_F32, "f32"}, {SQZ_F16, "f16"}, {SQZ_S8, "s8"}};
  for (const auto &[dtype, name] : dtypes) {
    const Exactness exactness = dtype == SQZ_S8 && !elementary ? kExact : kUsual;
    run("pwconv", name, size, exactness, [&, dtype = dtype](Call &c) {
      const sqz_pwconv_input input = input_of(c.in(x, rows, c_in), rows, c_in);
      sqz_pwconv_part part = part_of(c, dtype, packed, groups, rows, c_out);
      finish(c, &part);
      return sqz_pwconv(&input, 1, &part);
    });
  }
  if (elementary) return;
  quantize(run, size, x, rows, c_in, groups);
  const int64_t width = sqz_quantized_width_s8(c_in, groups), width_out = sqz_quantized_width_s8(c_out, groups);
  Bytes q(static_cast<size_t>(rows * width));
  Floats scales(static_cast<size_t>(rows * groups));
  sqz_quantize_rows_s8(rows, c_in, groups, x.data(), c_in, q.data(), width, scales.data());
  run("pwconv", "s8", size + "-bytes", kExact, [&](Call &c) {
    const ByteMatrix m = c.in(q, rows, width), y = c.out<uint8_t>(rows, width_out);
    sqz_pwconv_input input = {};
    input.rows = rows, input.c_in = c_in, input.q = m.p, input.ldq = m.ld, input.groups = groups;
    input.scales = c.in(scales);
    sqz_pwconv_part part = {};
    part.dtype = SQZ_S8, part.groups = groups, part.c_out = c_out, part.packed = c.in(packed.s8);
    finish(c, &part);
    part.q_out = y.p, part.ldq_out = y.ld, part.groups_out = groups, part.scales_out = c.out(rows * groups);
    return sqz_pwconv(&input, 1, &part);
  });
}

// The older function for float32 weights, with x and weight of any values.
void conv_f32(Run &run, const string &name, const Floats &x, int64_t rows, int64_t k, const Floats &weight, int64_t n,
              sqz_activation activation, Exactness exactness) {
  Floats packed(static_cast<size_t>(sqz_pwconv_packed_size_f32(1, k, n)));
  sqz_pwconv_pack_f32(1, k, n, weight.data(), SQZ_F32, packed.data());
  run("pwconv", "f32", name, exactness, [&](Call &c) {
    const Matrix m = c.in(x, rows, k), y = c.out(rows, n);
    return sqz_pwconv_f32(rows, 1, k, n, m.p, m.ld, c.in(packed), nullptr, activation, nullptr, 0, y.p, y.ld);
  });
}

void convolutions(Run &run) {
  // Around the rows and columns of a tile and the unrolling along k. Every pair of sizes occurs, not every triple.
  const int64_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17};
  const int64_t depths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33};
  const int64_t columns[] = {1, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 33, 47, 49, 64};
  int i = 0;
  for (const int64_t k : depths) {
    for (const int64_t n : columns) {
      for (int j = 0; j < 3; ++j, ++i) conv(run, rows[i % 12], k, n, 1 + i % 3, kActivations[i % 5], i % 2);
      i += 4;
    }
  }
  conv(run, 130, 24, 40, 4, SQZ_ACT_GELU, true);   // tasks for several threads
  conv(run, 130, 24, 200, 1, SQZ_ACT_NONE, true);  // that share out the channels too
  conv(run, 3, 1100, 18, 1, SQZ_ACT_NONE, false);  // k in blocks, and sums of bytes above 2^24
  conv(run, 6, 770, 33, 2, SQZ_ACT_RELU, true);
  // int8: around 4, 16 and 64 k, low tiles, pairs of rows; more rows, and more k, than are rearranged at once.
  for (const int64_t k : {35, 62, 64, 66, 76, 79, 125, 130})
    for (int j = 0; j < 2; ++j) conv(run, 3 + (k + 5 * j) % 11, k, 17 + 16 * j, 1 + k % 2, SQZ_ACT_NONE, j);
  conv(run, 70, 768, 18, 1, SQZ_ACT_NONE, true);
  conv(run, 9, 1030, 17, 1, SQZ_ACT_NONE, true);
  conv(run, 5, 8010, 3, 1, SQZ_ACT_NONE, false);
  conv(run, 0, 5, 7, 1, SQZ_ACT_NONE, false);
  conv(run, 3, 0, 7, 1, SQZ_ACT_NONE, true);
  for (const sqz_activation a : kActivations) {
    const auto n = static_cast<int64_t>(kSpecials.size());
    conv_f32(run, "specials-a" + std::to_string(a), kSpecials, n, 1, Floats(19, 1.0f), 19, a, kUsual);
  }
  conv_f32(run, "every_kind", every_kind(65, 20 * 33), 20, 33, every_kind(66, 33 * 50), 50, SQZ_ACT_NONE, kWild);
}

void bytes_of_every_kind(Run &run) {
  const int64_t rows = 60, n = 33;
  quantize(run, "every_kind", every_kind(67, rows * n), rows, n, 3);
  // By the function of the argument struct, which alone can rotate. One outlier per row, and subnormals.
  for (const int64_t channels : {128, 384, 640}) {
    Floats outliers = numbers(69, rows * channels);
    for (int64_t i = 0; i < rows; ++i) {
      float *row = &outliers[static_cast<size_t>(i * channels)];
      if (i % 4 == 3)
        for (int64_t j = 0; j < channels; ++j) row[j] *= 1e-37f;
      row[i % channels] = i % 4 == 3 ? 1e-29f : 60.0f;
    }
    run("quantize_rows", "s8", "rotated-" + std::to_string(channels), kExact, [&](Call &c) {
      const Matrix m = c.in(outliers, rows, channels);
      const intptr_t shape[] = {rows, static_cast<intptr_t>(channels)}, shape_scales[] = {rows, 1};
      const intptr_t strides[] = {static_cast<intptr_t>(m.ld * 4), 4};
      const int64_t rotate = 1;
      sqz_quantize_rows_args a = {};
      a.size = sizeof a, a.groups = 1, a.rotate = &rotate;
      a.x.dtype = a.scales.dtype = SQZ_F32, a.values.dtype = SQZ_U8;
      a.x.rank = a.scales.rank = a.values.rank = 2;
      a.x.data = m.p, a.x.shape = shape, a.x.strides = strides;
      a.values.data = c.out<uint8_t>(1, rows * channels).p, a.values.shape = shape;
      a.scales.data = c.out(rows), a.scales.shape = shape_scales;
      return sqz_quantize_rows(&a);
    });
  }
  // Halfway between two bytes: 127 is the largest, so the scale is 1.
  Floats ties(rows * n);
  for (size_t i = 0; i < ties.size(); ++i) ties[i] = static_cast<float>(integer(68, i, 253) - 126) + 0.5f;
  for (int64_t i = 0; i < rows; ++i) ties[static_cast<size_t>(i * n + i % n)] = i % 2 ? 127.0f : -127.0f;
  quantize(run, "ties", ties, rows, n, 1);
  // The largest sums: all products 127 * 127, of either sign.
  for (const int64_t k : {64, 1023}) {
    Floats high(static_cast<size_t>(9 * k), 1.0f), weight(static_cast<size_t>(20 * k), 1.0f);
    for (size_t i = 0; i < high.size(); ++i) high[i] = i / static_cast<size_t>(k) % 2 ? -3.0f : 3.0f;
    for (size_t i = 0; i < weight.size(); ++i) weight[i] = i / static_cast<size_t>(k) % 3 ? -1.0f : 1.0f;
    const Packed packed = pack(1, k, 20, weight);
    run("pwconv", "s8", "largest sums of " + std::to_string(k), kExact, [&](Call &c) {
      const sqz_pwconv_input input = input_of(c.in(high, 9, k), 9, k);
      const sqz_pwconv_part part = part_of(c, SQZ_S8, packed, 1, 9, 20);
      return sqz_pwconv(&input, 1, &part);
    });
  }
}

// Several convolutions of one input, of all dtypes.
void convolutions_of_one_input(Run &run) {
  const int64_t rows = 11, c_in = 30;
  const Floats x = numbers(71, rows * c_in);
  const Packed first = pack(2, c_in, 34, numbers(72, 34 * 15)), second = pack(3, c_in, 9, numbers(73, 9 * 10));
  run("pwconv", "s8", "of one input", kUsual, [&](Call &c) {
    const sqz_pwconv_input input = input_of(c.in(x, rows, c_in), rows, c_in);
    const sqz_pwconv_part parts[] = {part_of(c, SQZ_F16, first, 2, rows, 34), part_of(c, SQZ_S8, first, 2, rows, 34),
                                     part_of(c, SQZ_F32, second, 3, rows, 9), part_of(c, SQZ_S8, second, 3, rows, 9)};
    return sqz_pwconv(&input, 4, parts);
  });
}

const int64_t kLengths[] = {0,  1,  2,  3,  4,  5,  7,  8,  9,  12, 15, 16, 17, 20,
                            23, 24, 31, 32, 33, 36, 40, 47, 48, 49, 64, 96, 100};

// Normalisations, found in the library's table: ops of x with an eps, and of what else they take of weight, bias and
// residual.
std::vector<const sqz_operation *> normalisations() {
  const std::set<string> known = {"x", "weight", "bias", "eps", "residual", "out"};
  std::vector<const sqz_operation *> found;
  for (int32_t i = 0; i < sqz_operation_count(); ++i) {
    const sqz_operation *op = sqz_operation_get(i);
    std::set<string> names;
    for (int32_t j = 0; j < op->argument_count; ++j) names.insert(op->arguments[j].name);
    if (names.count("eps") && std::includes(known.begin(), known.end(), names.begin(), names.end()))
      found.push_back(op);
  }
  return found;
}

// By the function of its argument struct: `out` is dense.
void normalise(Run &run, const sqz_operation &op, const string &name, const Floats &x, int64_t rows, int64_t n,
               bool all, bool in_place, double eps, Exactness exactness) {
  run(op.name, "f32", "array " + name, exactness, [&](Call &c) {
    const intptr_t shape[] = {static_cast<intptr_t>(rows), static_cast<intptr_t>(n)};
    std::map<string, std::array<intptr_t, 2>> strides;
    std::vector<uint64_t> args(op.size / sizeof(uint64_t) + 1);
    char *fields = reinterpret_cast<char *>(args.data());
    memcpy(fields, &op.size, sizeof op.size);
    float *y = in_place ? c.in_out(x, n ? 1 : 0, rows * n).p : c.out(rows * n);
    for (int32_t i = 0; i < op.argument_count; ++i) {
      const sqz_argument &a = op.arguments[i];
      const string field = a.name;
      sqz_array array = {};
      array.dtype = SQZ_F32, array.rank = 2, array.shape = shape;
      if (field == "eps") {
        memcpy(fields + a.offset, &eps, sizeof eps);
        continue;
      }
      if (field == "out" || (field == "x" && in_place)) {
        array.data = y;
      } else if (field == "weight" || field == "bias") {
        array.data = c.in(numbers(field == "bias" ? 84 : 83, n)), array.rank = 1, array.shape = shape + 1;
      } else {
        const Matrix m = c.in(field == "x" ? x : numbers(82, rows * n), rows, n);
        strides[field] = {static_cast<intptr_t>(m.ld * 4), 4};
        array.data = m.p, array.strides = strides[field].data();
      }
      if (all || !a.optional || field == "out") memcpy(fields + a.offset, &array, sizeof array);
    }
    return op.run(args.data(), 1, 0);
  });
}

using RowCall = std::function<sqz_status(Call &, const Matrix &x, const Matrix &y)>;

// By a pointer function: with gaps in `out` too.
void rows_of(Run &run, const string &op, const string &name, const Floats &x, int64_t rows, int64_t n, bool in_place,
             Exactness exactness, const RowCall &call) {
  run(op, "f32", name, exactness, [&](Call &c) {
    const Matrix y = in_place ? c.in_out(x, rows, n) : c.out(rows, n);
    return call(c, in_place ? y : c.in(x, rows, n), y);
  });
}

void layer_norm(Run &run, const string &name, const Floats &x, int64_t rows, int64_t n, bool all, bool in_place,
                double eps, Exactness exactness) {
  rows_of(run, "layer_norm", name, x, rows, n, in_place, exactness, [&](Call &c, const Matrix &m, const Matrix &y) {
    const Matrix r = c.in(numbers(82, rows * n), rows, n);
    return sqz_layer_norm_f32(rows, n, m.p, m.ld, all ? r.p : nullptr, r.ld, all ? c.in(numbers(83, n)) : nullptr,
                              all ? c.in(numbers(84, n)) : nullptr, eps, y.p, y.ld);
  });
}

void l2_normalize(Run &run, const string &name, const Floats &x, int64_t rows, int64_t n, bool in_place, double eps,
                  Exactness exactness) {
  rows_of(run, "l2_normalize", name, x, rows, n, in_place, exactness, [&](Call &, const Matrix &m, const Matrix &y) {
    return sqz_l2_normalize_f32(rows, n, m.p, m.ld, eps, y.p, y.ld);
  });
}

void softmax(Run &run, const string &name, const Floats &x, int64_t rows, int64_t n, sqz_mask_kind kind, bool one_mask,
             bool in_place, double scale, Exactness exactness) {
  Bytes keep = flags(85, rows * n, 3);
  for (int64_t j = 0; j < n && rows > 2; ++j) keep[static_cast<size_t>(2 * n + j)] = 0;  // a row of nothing
  Floats added = numbers(86, rows * n);
  for (size_t i = 0; i < added.size(); ++i)
    if (!keep[i]) added[i] = -INFINITY;
  rows_of(run, "softmax", name, x, rows, n, in_place, exactness, [&](Call &c, const Matrix &m, const Matrix &y) {
    const ByteMatrix bytes = c.in(keep, rows, n);
    const Matrix floats = c.in(added, rows, n);
    const void *mask = kind == SQZ_MASK_BOOL ? static_cast<void *>(bytes.p) : kind == SQZ_MASK_ADD ? floats.p : nullptr;
    return sqz_softmax_f32(rows, n, m.p, m.ld, mask, kind, one_mask ? 0 : bytes.ld, scale,
                           n % 2 ? SQZ_MASKED_UNIFORM : SQZ_MASKED_ZERO, y.p, y.ld);
  });
}

void row_functions(Run &run) {
  const std::vector<const sqz_operation *> ops = normalisations();
  for (const int64_t n : kLengths) {
    for (const int64_t rows : {1, 3, 9}) {
      const string size = std::to_string(rows) + "x" + std::to_string(n);
      const Floats x = numbers(81, rows * n, 8);
      const bool odd = n % 2;
      for (const sqz_operation *op : ops) {
        normalise(run, *op, size, x, rows, n, false, odd, 1e-5, kUsual);
        normalise(run, *op, size + "-all", x, rows, n, true, !odd, 0.7, kUsual);
      }
      layer_norm(run, size, x, rows, n, false, odd, 1e-5, kUsual);
      layer_norm(run, size + "-all", x, rows, n, true, !odd, 1e-12, n == 1 ? kWild : kUsual);
      l2_normalize(run, size, x, rows, n, odd, 1e-12, kUsual);
      l2_normalize(run, size + "-eps", x, rows, n, !odd, 20, kUsual);
      softmax(run, size, x, rows, n, SQZ_MASK_NONE, false, odd, 0.7, kUsual);
      softmax(run, size + "-bool", x, rows, n, SQZ_MASK_BOOL, rows == 3, !odd, 1, kUsual);
      softmax(run, size + "-added", x, rows, n, SQZ_MASK_ADD, rows == 1, odd, 0.3, kUsual);
    }
  }
  const Floats odd = every_kind(87, 40 * 33), x = numbers(88, 700 * 50, 8);
  for (const sqz_operation *op : ops) {
    normalise(run, *op, "every_kind", odd, 40, 33, false, false, 1e-5, kWild);
    normalise(run, *op, "700x50", x, 700, 50, true, false, 1e-5, kUsual);  // rows for several threads
  }
  layer_norm(run, "every_kind", odd, 40, 33, false, false, 1e-5, kWild);
  l2_normalize(run, "every_kind", odd, 40, 33, false, 1e-30, kWild);
  softmax(run, "every_kind", odd, 40, 33, SQZ_MASK_NONE, false, false, 1, kWild);
  softmax(run, "every_kind-bool", odd, 40, 33, SQZ_MASK_BOOL, false, false, 1, kWild);
  layer_norm(run, "700x50", x, 700, 50, true, false, 1e-12, kUsual);  // rows for several threads
  l2_normalize(run, "700x50", x, 700, 50, false, 1e-12, kUsual);
  softmax(run, "700x50", x, 700, 50, SQZ_MASK_ADD, false, false, 1, kUsual);
}

void activations(Run &run) {
  Floats wide = kSpecials;
  for (const Floats &more : {every_kind(91, 1201), numbers(92, 1600, 16), numbers(93, 1600, 1)})
    wide.insert(wide.end(), more.begin(), more.end());
  for (const sqz_activation a : kActivations) {
    for (const int64_t n : kLengths) {
      run("activation", "f32", std::to_string(a) + "-" + std::to_string(n), kUsual, [&](Call &c) {
        const Floats x = numbers(94, n, 8);
        if (n % 2) return sqz_activation_f32(a, n, c.in(x), c.out(n));
        const Matrix y = c.in_out(x, n ? 1 : 0, n);
        return sqz_activation_f32(a, n, y.p, y.p);
      });
    }
    run("activation", "f32", std::to_string(a) + "-wide", kUsual, [&](Call &c) {
      const auto n = static_cast<int64_t>(wide.size());
      return sqz_activation_f32(a, n, c.in(wide), c.out(n));
    });
  }
}

void mean_pools(Run &run) {
  for (const int64_t n : kLengths) {
    for (const int64_t length : {0, 1, 2, 3, 4, 5, 9}) {
      const int64_t batch = 4;
      Bytes keep = flags(95, batch * length, 3);
      for (int64_t i = 0; i < length; ++i) keep[static_cast<size_t>(length + i)] = 0;
      for (const bool masked : {false, true}) {
        const string name = std::to_string(length) + "x" + std::to_string(n) + (masked ? "-mask" : "");
        run("mean_pool", "f32", name, kUsual, [&](Call &c) {
          const Matrix m = c.in(numbers(96, batch * length * n, 8), batch * length, n), y = c.out(batch, n);
          const ByteMatrix mask = c.in(keep, batch, length);
          return sqz_mean_pool_f32(batch, length, n, m.p, m.ld, masked ? mask.p : nullptr, mask.ld, y.p, y.ld);
        });
      }
    }
  }
}

// Rows of n bytes, each with the float that they are multiplied by, at any address.
Bytes byte_table(uint64_t seed, int64_t rows, int64_t n) {
  Bytes table;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < n; ++j)
      table.push_back(static_cast<uint8_t>(integer(seed, static_cast<uint64_t>(r * n + j), 255) - 127));
    const float scale = number(seed + 50, static_cast<uint64_t>(r), 0.0625F);
    const auto *bytes = reinterpret_cast<const uint8_t *>(&scale);
    table.insert(table.end(), bytes, bytes + sizeof scale);
  }
  return table;
}

void embeddings(Run &run) {
  const int64_t sizes[3] = {50, 20, 2}, count = 13;
  for (const int64_t n : kLengths) {
    for (const sqz_dtype dtype : {SQZ_F32, SQZ_F16, SQZ_S8}) {
      Ids ids[3];
      for (size_t t = 0; t < 3; ++t)
        for (int64_t i = 0; i < count; ++i) ids[t].push_back(integer(97 + t, static_cast<uint64_t>(i), sizes[t]));
      const auto table = [&](Call &c, size_t t) -> const void * {
        if (dtype == SQZ_F16) return c.in(halves(101 + t, sizes[t] * n));
        if (dtype == SQZ_S8) return c.in(byte_table(121 + t, sizes[t], n));
        return c.in(numbers(104 + t, sizes[t] * n));
      };
      const string name = std::to_string(n) + (dtype == SQZ_F16 ? "-half" : dtype == SQZ_S8 ? "-bytes" : "");
      run("embedding", "f32", name, kUsual, [&](Call &c) {
        const Matrix y = c.out(count, n);
        return sqz_embedding_f32(count, n, c.in(ids[0]), table(c, 0), dtype, sizes[0], y.p, y.ld);
      });
      run("embedding_layer_norm", "f32", name, n == 1 ? kWild : kUsual, [&](Call &c) {
        const int64_t *const places[3] = {c.in(ids[0]), c.in(ids[1]), c.in(ids[2])};
        const void *const tables[3] = {table(c, 0), table(c, 1), table(c, 2)};
        const sqz_dtype dtypes[3] = {dtype, dtype, SQZ_F32};
        const void *const mixed[3] = {tables[0], tables[1], c.in(numbers(106, sizes[2] * n))};
        const Matrix y = c.out(count, n);
        return sqz_embedding_layer_norm_f32(count, n, places, mixed, dtypes, sizes, c.in(numbers(107, n)),
                                            c.in(numbers(108, n)), 1e-12, y.p, y.ld);
      });
    }
  }
  // Every float16 but NaN, widened.
  Halves all;
  for (uint32_t i = 0; i < 65536; ++i)
    if ((i & 0x7c00) != 0x7c00 || !(i & 0x3ff)) all.push_back(static_cast<uint16_t>(i));
  Ids rows(all.size() / 2);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  const auto count_of_all = static_cast<int64_t>(rows.size());
  run("embedding", "f32", "every float16", kUsual, [&](Call &c) {
    const Matrix y = c.out(count_of_all, 2);
    return sqz_embedding_f32(count_of_all, 2, c.in(rows), c.in(all), SQZ_F16, count_of_all, y.p, y.ld);
  });
}

void attention(Run &run, const string &name, const std::vector<int32_t> &q_offsets,
               const std::vector<int32_t> &k_offsets, int64_t heads, int64_t size, sqz_mask_kind kind, bool ragged,
               bool scores, bool wild) {
  const auto batch = static_cast<int64_t>(q_offsets.size()) - 1, c = heads * size;
  const int64_t queries = q_offsets.back(), keys = k_offsets.back();
  int64_t lq = 0, lk = 0, count = 0;
  for (size_t b = 0; b < static_cast<size_t>(batch); ++b) {
    const int64_t a = q_offsets[b + 1] - q_offsets[b], d = k_offsets[b + 1] - k_offsets[b];
    lq = a > lq ? a : lq, lk = d > lk ? d : lk, count += heads * a * d;
  }
  const int64_t entries = ragged ? keys : batch * lq * lk;
  Bytes keep = flags(111, entries, 4);
  for (int64_t i = 0; i < lk && i < entries; ++i)
    keep[static_cast<size_t>(i)] = 0;  // a query, or a sequence, of nothing
  Floats added = numbers(112, entries);
  for (size_t i = 0; i < added.size(); ++i)
    if (!keep[i]) added[i] = -INFINITY;
  const auto values = [&](uint64_t seed, int64_t n) { return wild ? every_kind(seed, n) : numbers(seed, n); };
  run("attention", "f32", name, wild ? kWild : kUsual, [&](Call &call) {
    const Matrix q = call.in(values(113, queries * c), queries, c), k = call.in(values(114, keys * c), keys, c),
                 v = call.in(values(115, keys * c), keys, c);
    sqz_attention_f32_args a = {};
    a.batch = batch, a.heads = heads, a.head_size = size;
    a.q_offsets = call.in(q_offsets), a.k_offsets = call.in(k_offsets);
    a.q = q.p, a.ldq = q.ld, a.k = k.p, a.ldk = k.ld, a.v = v.p, a.ldv = v.ld;
    a.mask_kind = kind, a.mask_ragged = ragged;
    a.mask = kind == SQZ_MASK_BOOL  ? static_cast<const void *>(call.in(keep))
             : kind == SQZ_MASK_ADD ? call.in(added)
                                    : nullptr;
    a.mask_strides[0] = lq * lk, a.mask_strides[2] = lk;
    a.scale = sqz_attention_scale(size);
    a.fully_masked = size % 2 ? SQZ_MASKED_ZERO : SQZ_MASKED_UNIFORM;
    if (scores) {
      a.scores = call.out(count);
    } else {
      const Matrix y = call.out(queries, c);
      a.out = y.p, a.ldo = y.ld;
    }
    return sqz_attention_f32(&a);
  });
}

void attention_s8(Run &run, const string &name, const std::vector<int32_t> &q_offsets,
                  const std::vector<int32_t> &k_offsets, int64_t heads, int64_t size, bool masked, bool ragged,
                  bool epilogue, bool wild) {
  const auto batch = static_cast<int64_t>(q_offsets.size()) - 1, c = heads * size, width = heads * ((size + 3) / 4 * 4);
  const int64_t queries = q_offsets.back(), keys = k_offsets.back();
  const int64_t lk = k_offsets[1];
  Bytes keep = flags(116, ragged ? keys : batch * lk, 4);
  for (int64_t i = 0; i < lk; ++i) keep[static_cast<size_t>(i)] = 0;  // a sequence of nothing
  // Rows of several sizes, so that the scales of V differ; exact in every rounding mode.
  const auto quantised = [&](Call &call, uint64_t seed, int64_t rows, const float **scales) {
    Floats x = wild ? every_kind(seed, rows * c) : numbers(seed, rows * c), s(static_cast<size_t>(rows * heads));
    for (int64_t i = 0; i < rows * c && !wild; ++i)
      x[static_cast<size_t>(i)] *= i / c % 3 == 0 ? 1.0F : i / c % 3 == 1 ? 0.25F : 0.015625F;
    Bytes q(static_cast<size_t>(rows * width));
    if (sqz_quantize_rows_s8(rows, c, heads, x.data(), c, q.data(), width, s.data())) exit(2);
    *scales = call.in(s);
    return call.in(q, rows, width);
  };
  run("attention", "s8", name, wild ? kWild : kRounded, [&](Call &call) {
    sqz_attention_s8_args a = {};
    a.batch = batch, a.heads = heads, a.head_size = size;
    a.q_offsets = call.in(q_offsets), a.k_offsets = call.in(k_offsets);
    const ByteMatrix q = quantised(call, 117, queries, &a.q_scales), k = quantised(call, 118, keys, &a.k_scales),
                     v = quantised(call, 119, keys, &a.v_scales);
    a.q = q.p, a.ldq = q.ld, a.k = k.p, a.ldk = k.ld, a.v = v.p, a.ldv = v.ld;
    a.mask = masked ? call.in(keep) : nullptr;
    a.mask_ragged = ragged;
    a.mask_strides[0] = lk;
    a.scale = 4 * sqz_attention_scale(size);
    a.fully_masked = size % 2 ? SQZ_MASKED_ZERO : SQZ_MASKED_UNIFORM;
    if (epilogue) a.value_scale = call.in(numbers(120, c)), a.value_bias = call.in(numbers(121, c));
    const Matrix y = call.out(queries, c);
    a.out = y.p, a.ldo = y.ld;
    return sqz_attention_s8(&a);
  });
}

void attentions(Run &run) {
  const int64_t shapes[][4] = {{1, 1, 1, 1},    {3, 5, 9, 8},  {2, 17, 33, 12}, {1, 9, 16, 20}, {2, 7, 50, 64},
                               {1, 3, 600, 16}, {2, 8, 15, 3}, {1, 4, 31, 32},  {1, 2, 32, 7},  {2, 40, 40, 16}};
  for (const auto &[heads, lq, lk, size] : shapes) {
    const std::vector<int32_t> q = {0, static_cast<int32_t>(lq), static_cast<int32_t>(2 * lq)},
                               k = {0, static_cast<int32_t>(lk), static_cast<int32_t>(2 * lk)};
    const string name =
        std::to_string(lq) + "x" + std::to_string(lk) + "h" + std::to_string(heads) + "d" + std::to_string(size);
    attention(run, name, q, k, heads, size, SQZ_MASK_NONE, false, false, false);
    attention(run, name + "-bool", q, k, heads, size, SQZ_MASK_BOOL, false, false, false);
    attention(run, name + "-added", q, k, heads, size, SQZ_MASK_ADD, false, false, false);
    attention(run, name + "-scores", q, k, heads, size, SQZ_MASK_ADD, false, true, false);
    attention_s8(run, name, q, k, heads, size, false, false, false, false);
    attention_s8(run, name + "-bool", q, k, heads, size, true, false, true, false);
  }
  const std::vector<int32_t> offsets = {0, 1, 18, 18, 35, 60};
  attention(run, "ragged", offsets, offsets, 3, 8, SQZ_MASK_NONE, false, false, false);
  attention(run, "ragged-holes", offsets, offsets, 2, 12, SQZ_MASK_BOOL, true, false, false);
  attention(run, "every_kind", offsets, offsets, 2, 12, SQZ_MASK_BOOL, false, false, true);
  attention_s8(run, "ragged", offsets, offsets, 3, 8, false, false, true, false);
  attention_s8(run, "ragged-holes", offsets, offsets, 2, 12, true, true, false, false);
  attention_s8(run, "every_kind", offsets, offsets, 2, 12, true, true, false, true);
}

void all_cases(Run &run) {
  convolutions(run);
  bytes_of_every_kind(run);
  convolutions_of_one_input(run);
  row_functions(run);
  activations(run);
  mean_pools(run);
  embeddings(run);
  attentions(run);
}

// ---- the program ----

Bytes read_file(const char *path) {
  Bytes bytes;
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(2);
  }
  uint8_t block[65536];
  for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) bytes.insert(bytes.end(), block, block + n);
  fclose(file);
  return bytes;
}

// Checks that the modes have an effect; otherwise running under other modes would prove nothing.
int modes_matter() {
  const uint64_t before = get_modes();
  volatile float one = 1, tiny = 1e-9f, small = 1e-38f, tenth = 0.1f;
  const float subnormal = small * tenth;
  set_modes(kFlushAndRoundUp);
  volatile float up = one + tiny, flushed = small * tenth;
  set_modes(before);
  if (up > 1 && flushed == 0 && subnormal > 0) return 0;
  fprintf(stderr, "FAILED: the modes of the floating-point unit have no effect\n");
  return 1;
}

int check_one(Bytes &expected, const char *isa) {
  Run run(expected, false, isa);
  if (sqz_force_isa(isa) != SQZ_OK) {
    fprintf(stderr, "FAILED: %s: %s\n", isa, sqz_error_message());
    return 1;
  }
  std::map<string, std::set<string>> isas;  // by dtype
  for (const sqz_kernel_info &row : kernels_in_use()) isas[row.dtype].insert(row.isa);
  for (const string &float_isa : isas["f32"]) run.to_tolerance |= floats_to_tolerance(float_isa);
  printf("%s:", isa ? isa : "default");
  for (const auto &[dtype, used] : isas)
    for (const string &name : used) printf(" %s %s", dtype.c_str(), name.c_str());
  printf("\n");
  if (isa) {
    all_cases(run);
    if (run.at != expected.size()) run.fail("all", "the file of expected results has more cases");
    for (const sqz_kernel_info &row : kernels_in_use())
      if (!run.kernels.count(row.symbol)) run.fail(row.symbol, "no case runs it");
    printf("%s: %d cases, %d wrong, %d kernels\n", isa, run.cases, run.wrong, static_cast<int>(run.kernels.size()));
    double rate = 0;
    for (sqz_status (*peak)(double, double *) : {sqz_measure_fma, sqz_measure_s8})
      if (peak(1e-5, &rate) != SQZ_OK || !(rate > 0)) run.fail("peak", sqz_error_message());
  }
  fflush(stdout);
  return run.wrong > 0;
}

}  // namespace

int main(int argc, char **argv) {
  const std::set<string> commands = {"write", "check", "memory"};
  if (argc != 3 || !commands.count(argv[1])) {
    fprintf(stderr, "usage: %s write|check FILE, or memory ISA\n", argv[0]);
    return 2;
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP}) ::signal(signal, on_signal);
  if (strcmp(argv[1], "write") == 0) {
    Bytes results;
    Run run(results, true);
    all_cases(run);
    FILE *file = fopen(argv[2], "wb");
    if (!file || fwrite(results.data(), 1, results.size(), file) != results.size() || fclose(file) != 0) {
      perror(argv[2]);
      return 2;
    }
    printf("written: %d cases on %s\n", run.cases, sqz_isa_chosen());
    return run.wrong > 0;
  }
  if (strcmp(argv[1], "memory") == 0) {
    if (sqz_force_isa(argv[2]) != SQZ_OK) {
      fprintf(stderr, "%s\n", sqz_error_message());
      return 2;
    }
    Bytes results;
    Run run(results, true, argv[2]);
    run.keeps_modes = false;
    all_cases(run);
    printf("%s: %d cases\n", argv[2], run.cases);
    return run.wrong > 0;
  }
  Bytes expected = read_file(argv[2]);
  int failed = modes_matter() + check_one(expected, nullptr);
  for (int32_t i = 0; i < sqz_isa_count(); ++i)
    if (sqz_isa_get_state(i) == SQZ_ISA_RUNNABLE) failed += check_one(expected, sqz_isa_name(i));
  std::vector<const char *> others = {"avx1024"};
  for (int32_t i = 0; i < sqz_isa_count(); ++i)
    if (sqz_isa_get_state(i) != SQZ_ISA_RUNNABLE) others.push_back(sqz_isa_name(i));
  for (const char *other : others) {
    if (sqz_force_isa(other) == SQZ_OK) {
      fprintf(stderr, "FAILED: forced %s, which does not run here\n", other);
      ++failed;
    }
  }
  return failed > 0;
}
