// The C interface to pointwise convolution: packing, quantised rows, and the split of the work over threads.
#include <stdio.h>

#include "api_checks.h"

using namespace sqz;

namespace {

// ---- checks --------------------------------------------------------------------------------------------------------

constexpr int64_t kMostChannels = INT64_C(1) << 28;  // and groups, of which zero channels could have any number

sqz_status check_channels(int64_t channels, int64_t groups) {
  SQZ_CHECK(channels >= 0 && channels <= kMostChannels, "channels: expected 0 to 2^28, got %lld", (long long)channels);
  SQZ_CHECK(groups >= 1 && groups <= kMostChannels && channels % groups == 0,
            "groups: expected a divisor of %lld channels, got %lld", (long long)channels, (long long)groups);
  return SQZ_OK;
}

sqz_status check_groups(int64_t groups, int64_t c_in, int64_t c_out) {
  SQZ_CHECK(c_in >= 0 && c_in <= kMostChannels, "c_in: expected 0 to 2^28 channels, got %lld", (long long)c_in);
  SQZ_CHECK(c_out >= 0 && c_out <= kMostChannels, "c_out: expected 0 to 2^28 channels, got %lld", (long long)c_out);
  SQZ_CHECK(groups >= 1 && groups <= kMostChannels && c_in % groups == 0 && c_out % groups == 0,
            "groups: expected a divisor of %lld input and %lld output channels, got %lld", (long long)c_in,
            (long long)c_out, (long long)groups);
  return SQZ_OK;
}

sqz_status check_groups_s8(int64_t groups, int64_t c_in, int64_t c_out) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_CHECK(c_in / groups <= PackedS8::kMostGroupIn, "c_in: expected at most 2^17 channels a group, got %lld",
            (long long)(c_in / groups));
  return SQZ_OK;
}

sqz_status check_weight(int64_t size, const void *weight, sqz_dtype weight_dtype, int64_t packed_size,
                        const void *packed) {
  SQZ_TRY(check_enum("weight_dtype", weight_dtype, SQZ_F16));
  SQZ_CHECK(weight || size == 0, "weight: expected a pointer, got NULL");
  SQZ_CHECK(packed || packed_size == 0, "packed: expected a pointer, got NULL");
  return SQZ_OK;
}

sqz_status check_quantized(const char *name, const void *q, int64_t ldq, const char *scales_name, const float *scales,
                           int64_t rows, int64_t channels, int64_t groups) {
  SQZ_TRY(check_matrix(name, q, rows, groups * QuantizeRows::width(channels / groups), ldq));
  return check_matrix(scales_name, scales, rows, groups, groups);
}

sqz_status check_input(const sqz_pwconv_input &x) {
  if (!x.q) return check_matrix("x", x.x, x.rows, x.c_in, x.ldx);
  SQZ_TRY(check_matrix("c_in", x.q, x.rows, x.c_in, x.c_in));  // the sizes alone
  SQZ_TRY(check_channels(x.c_in, x.groups));
  return check_quantized("q", x.q, x.ldq, "scales", x.scales, x.rows, x.c_in, x.groups);
}

sqz_status check_part(const sqz_pwconv_input &x, const sqz_pwconv_part &p) {
  SQZ_TRY(check_enum("dtype", p.dtype, SQZ_S8));
  const bool s8 = p.dtype == SQZ_S8;
  SQZ_TRY(s8 ? check_groups_s8(p.groups, x.c_in, p.c_out) : check_groups(p.groups, x.c_in, p.c_out));
  SQZ_CHECK(s8 || !x.q, "dtype: expected int8 weights for a quantised input, got floats");
  SQZ_CHECK(!x.q || p.groups == x.groups, "groups: expected those of the quantised input, %lld, got %lld",
            (long long)x.groups, (long long)p.groups);
  if (p.q_out) {
    SQZ_CHECK(p.groups_out >= 1 && p.groups_out <= kMostChannels && p.c_out % p.groups_out == 0,
              "groups_out: expected a divisor of %lld, got %lld", (long long)p.c_out, (long long)p.groups_out);
    SQZ_TRY(check_quantized("q_out", p.q_out, p.ldq_out, "scales_out", p.scales_out, x.rows, p.c_out, p.groups_out));
  } else {
    SQZ_TRY(check_matrix("out", p.out, x.rows, p.c_out, p.ldo));
  }
  if (p.residual) SQZ_TRY(check_matrix("residual", p.residual, x.rows, p.c_out, p.ldr));
  SQZ_CHECK(p.packed || p.c_out == 0 || (x.c_in == 0 && !s8), "packed: expected a pointer, got NULL");
  return check_enum("activation", p.activation, SQZ_ACT_TANH);
}

// ---- quantised rows ------------------------------------------------------------------------------------------------

void quantize(const Kernels &kernels, const QuantizeRows &all) {
  for_chunks(all.rows, kRowGrain / (all.groups * all.n + 1) + 1, [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    QuantizeRows part = all;
    part.rows = end - begin;
    part.x += begin * all.ldx;
    part.q += begin * all.ldq;
    part.scales += begin * all.lds;
    kernels.quantize_rows_s8(part);
  });
}

// Rows of a result that is quantised as soon as all channels of a group that will read it are there.
constexpr int64_t kStoreRows = 32;

struct Store {
  QuantizeRows to;  // all rows; x is not set
  int64_t parts;    // of a row: its groups, or 1
  int64_t width;    // channels of a part
  int64_t ld;       // floats of a row in scratch memory

  static Store of(const sqz_pwconv_part &p, int64_t rows) {
    Store s = {};
    if (!p.q_out) return s;
    s.to.rows = rows;
    s.to.groups = s.to.lds = s.parts = p.groups_out;
    s.to.n = p.c_out / p.groups_out;
    s.to.q = p.q_out;
    s.to.ldq = p.ldq_out;
    s.to.scales = p.scales_out;
    // Parts must begin where a panel does.
    for (int64_t g = 1; g < p.groups_out; ++g)
      if (p.c_out > 0 && g * s.to.n % (p.c_out / p.groups) % 16 != 0) s.parts = 1;
    s.width = p.c_out / s.parts;
    s.ld = ceil_div(s.width, 16) * 16 + 16;  // not a power of two, of which rows would share cache sets
    return s;
  }
  int64_t floats() const { return kStoreRows * ld; }
};

// ---- the split over threads ----------------------------------------------------------------------------------------

// A task is a block of rows by a run of panels, and a thread's tasks follow each other in the packed weights. A block's
// part of x fits half of L2 with room for a column of panels; tiles are made of equal height, and the panels of a task
// are a multiple of every tile's width. Where the result is quantised, a task has the panels of whole groups of it.
constexpr int64_t kBlockBytes = 384 * 1024, kPanelBlock = 3;
constexpr int64_t kTaskWork = INT64_C(1) << 18;  // multiply-adds of floats worth the start of a task, about 2 us
constexpr int64_t kWorkS8 = 4;                   // as many of bytes take the time of one
constexpr int kMostParts = 8;                    // in a region; the description of each is on the stack

struct Part {
  pwconv_fn run;
  Pwconv args;
  Store store;
  int64_t rows, row_block, row_blocks, panels, unit, units;
  int64_t end;  // after its last task

  Part() {}
  Part(const Kernels &kernels, const sqz_pwconv_input &x, const sqz_pwconv_part &p, int threads) {
    const bool s8 = p.dtype == SQZ_S8;
    run = s8 ? kernels.pwconv_s8 : p.dtype == SQZ_F16 ? kernels.pwconv_f16 : kernels.pwconv_f32;
    args = {};
    args.groups = p.groups;
    args.group_in = x.c_in / p.groups;
    args.group_out = p.c_out / p.groups;
    args.x = x.x;
    args.ldx = x.ldx;
    args.q = x.q;
    args.ldq = x.ldq;
    args.scales = x.scales;
    args.packed = p.packed;
    args.bias = p.bias;
    args.residual = p.residual;
    args.ldr = p.ldr;
    args.out = p.out;
    args.ldo = p.ldo;
    args.activation = p.activation;
    rows = x.rows;
    panels = p.groups * args.panels_per_group();
    store = Store::of(p, rows);
    row_block = unit = 1;
    row_blocks = units = 0;
    if (panels == 0) return;
    if (p.q_out) {
      row_block = kStoreRows;
      row_blocks = ceil_div(rows, row_block);
      units = store.parts;
      return;
    }
    const int64_t most_rows = at_least(24, kBlockBytes / (s8 ? 1 : 4) / at_least(1, args.group_in));
    row_block = ceil_div(ceil_div(rows, ceil_div(rows, most_rows)), 8) * 8;
    row_blocks = ceil_div(rows, row_block);
    // One thread needs no more than one task. Several need some each, so that one that is held up can be helped.
    const int64_t columns = ceil_div(panels, kPanelBlock);
    const int64_t column_work = row_block * args.group_in * 16 * kPanelBlock / (s8 ? kWorkS8 : 1);
    const int64_t enough = threads == 1 ? columns : columns * row_blocks / (8 * threads);
    unit = kPanelBlock * at_least(at_most(ceil_div(kTaskWork, column_work + 1), columns), enough);
    units = ceil_div(panels, unit);
  }

  int64_t tasks() const { return units * row_blocks; }

  void task(const Kernels &kernels, int64_t i, float *block) const {
    FloatEnvironment environment;
    if (!store.parts) {
      const int64_t panel = i % units * unit, row = i / units * row_block;
      return run(args, row, at_most(row + row_block, rows), panel, at_most(panel + unit, panels));
    }
    // Blocks are low here, so one after the other takes the same weights.
    const int64_t u = i / row_blocks, row = i % row_blocks * row_block, row_end = at_most(row + row_block, rows);
    const int64_t column = u * store.width;
    const auto panel_of = [&](int64_t c) {
      return c / args.group_out * args.panels_per_group() + ceil_div(c % args.group_out, 16);
    };
    Pwconv p = args;
    p.out = block;
    p.ldo = store.ld;
    p.out_at = row * store.ld + column;
    run(p, row, row_end, panel_of(column), panel_of(column + store.width));
    const int64_t groups = store.to.groups / store.parts, g = u * groups;
    QuantizeRows to = store.to;
    to.rows = row_end - row;
    to.groups = groups;
    to.x = block;
    to.ldx = store.ld;
    to.q += row * to.ldq + g * to.width(to.n);
    to.scales += row * to.lds + g;
    kernels.quantize_rows_s8(to);
  }
};

// The first part that reads the same quantised rows of x.
int first_of_groups(const sqz_pwconv_part *parts, int i) {
  for (int j = 0; j < i; ++j)
    if (parts[j].dtype == SQZ_S8 && parts[j].groups == parts[i].groups) return j;
  return i;
}

// Scratch memory that regions need, one after the other: for each thread a part of a result, and rows of x, quantised
// once for each number of groups.
struct Room {
  int threads;
  int64_t block = 0, quantized = 0;  // floats of a part, and of a row
  float *memory = nullptr;

  void include(const sqz_pwconv_input &x, int count, const sqz_pwconv_part *parts) {
    int64_t floats = 0;
    for (int i = 0; i < count; ++i) {
      block = at_least(block, Store::of(parts[i], x.rows).floats());
      if (parts[i].dtype != SQZ_S8 || x.q || first_of_groups(parts, i) < i) continue;
      floats += ceil_div(parts[i].groups * QuantizeRows::width(x.c_in / parts[i].groups), 4) + parts[i].groups + 1;
    }
    quantized = at_least(quantized, floats);
  }

  sqz_status get(int64_t rows) {
    if (quantized + block == 0) return SQZ_OK;
    const bool fits = rows <= (INT64_MAX / 16 - block * threads) / (quantized + 1) - 32;
    memory = fits ? scratch(block * threads + quantized * (rows + 32)) : nullptr;
    if (memory) return SQZ_OK;
    return fail(SQZ_NO_MEMORY, "x: expected scratch memory for %lld rows of %lld bytes, got none", (long long)rows,
                (long long)(4 * quantized));
  }
};

// At most kMostParts convolutions of one x in one parallel region. All are checked.
void run_region(const Kernels &kernels, const sqz_pwconv_input &x, int count, const sqz_pwconv_part *parts,
                const Room &room) {
  struct Context {
    const Kernels &kernels;
    float *memory;
    int64_t block;
    Part parts[kMostParts];
  } c = {kernels, room.memory, room.block, {}};
  float *free = room.memory + room.block * room.threads;
  int64_t tasks = 0;
  for (int i = 0; i < count; ++i) {
    const sqz_pwconv_part &p = parts[i];
    sqz_pwconv_input input = x;
    if (p.dtype == SQZ_S8 && !x.q) {
      const int first = first_of_groups(parts, i);
      if (first < i) {
        const Pwconv &same = c.parts[first].args;
        input.q = same.q, input.ldq = same.ldq, input.scales = same.scales;
      } else {
        float *scales = free;
        uint8_t *q = reinterpret_cast<uint8_t *>(scales + ceil_div(x.rows * p.groups, 16) * 16);
        input.q = q, input.ldq = p.groups * QuantizeRows::width(x.c_in / p.groups), input.scales = scales;
        free += ceil_div(x.rows * p.groups, 16) * 16 + ceil_div(x.rows * input.ldq, 64) * 16;
        quantize(kernels, {x.rows, p.groups, x.c_in / p.groups, x.x, x.ldx, q, input.ldq, scales, p.groups});
      }
    }
    c.parts[i] = Part(kernels, input, p, room.threads);
    if (p.c_out == 0 && p.q_out) quantize(kernels, c.parts[i].store.to);  // of no channels: the scales
    tasks += c.parts[i].tasks();
    c.parts[i].end = tasks;
  }
  parallel_for(
      tasks,
      [](void *context, int64_t i, int worker) {
        const Context &c = *static_cast<const Context *>(context);
        const Part *p = c.parts;
        int64_t begin = 0;
        for (; i >= p->end; ++p) begin = p->end;
        p->task(c.kernels, i - begin, c.memory + worker * c.block);
      },
      &c, room.threads);
}

sqz_status run_parts(const sqz_pwconv_input &x, int64_t count, const sqz_pwconv_part *parts) {
  const Kernels *kernels = nullptr;
  for (int64_t i = 0; i < count; ++i)
    SQZ_TRY(begin(parts[i].dtype == SQZ_S8    ? Op::pwconv_s8
                  : parts[i].dtype == SQZ_F16 ? Op::pwconv_f16
                                              : Op::pwconv_f32,
                  &kernels));
  if (x.rows == 0) return SQZ_OK;
  const auto of_region = [&](int64_t first) { return static_cast<int>(at_most(count - first, kMostParts)); };
  // The memory of all regions is had before the first one writes. The number of threads is read once: another thread
  // may change it at any time.
  Room room{num_threads()};
  for (int64_t i = 0; i < count; i += kMostParts) room.include(x, of_region(i), parts + i);
  SQZ_TRY(room.get(x.rows));
  for (int64_t i = 0; i < count; i += kMostParts) run_region(*kernels, x, of_region(i), parts + i, room);
  return SQZ_OK;
}

}  // namespace

extern "C" {

int64_t sqz_pwconv_packed_size_f32(int64_t groups, int64_t c_in, int64_t c_out) {
  if (check_groups(groups, c_in, c_out)) return -1;
  return c_in * ceil_div(c_out / groups, 16) * 16;
}

int64_t sqz_pwconv_packed_size_f16(int64_t groups, int64_t c_in, int64_t c_out) {
  return sqz_pwconv_packed_size_f32(groups, c_in, c_out);
}

int64_t sqz_pwconv_packed_size_s8(int64_t groups, int64_t c_in, int64_t c_out) {
  if (check_groups_s8(groups, c_in, c_out)) return -1;
  return groups * ceil_div(c_out / groups, 16) * PackedS8::panel_bytes(c_in / groups);
}

sqz_status sqz_pwconv_pack_f32(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               float *packed) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_TRY(check_weight(c_in * c_out, weight, weight_dtype, c_in * c_out, packed));
  if (c_in * c_out == 0) return SQZ_OK;
  FloatEnvironment environment;
  pwconv_pack_f32(groups, c_in / groups, c_out / groups, weight, weight_dtype, packed);
  return SQZ_OK;
}

sqz_status sqz_pwconv_pack_f16(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                               uint16_t *packed) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  SQZ_TRY(check_weight(c_in * c_out, weight, weight_dtype, c_in * c_out, packed));
  if (c_in * c_out == 0) return SQZ_OK;
  FloatEnvironment environment;
  float worst;
  SQZ_CHECK(pwconv_pack_f16(groups, c_in / groups, c_out / groups, weight, weight_dtype, packed, &worst),
            "weight: expected values up to 65504, the largest float16, got %g", static_cast<double>(worst));
  return SQZ_OK;
}

sqz_status sqz_pwconv_pack_s8(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                              void *packed) {
  SQZ_TRY(check_groups_s8(groups, c_in, c_out));
  SQZ_TRY(check_weight(c_in * c_out, weight, weight_dtype, c_out, packed));
  FloatEnvironment environment;
  if (c_out > 0)
    pwconv_pack_s8(groups, c_in / groups, c_out / groups, weight, weight_dtype, static_cast<uint8_t *>(packed));
  return SQZ_OK;
}

int64_t sqz_quantized_width_s8(int64_t channels, int64_t groups) {
  if (check_channels(channels, groups)) return -1;
  return groups * QuantizeRows::width(channels / groups);
}

sqz_status sqz_quantize_rows_s8(int64_t rows, int64_t channels, int64_t groups, const float *x, int64_t ldx, uint8_t *q,
                                int64_t ldq, float *scales) {
  SQZ_TRY(check_channels(channels, groups));
  SQZ_TRY(check_matrix("x", x, rows, channels, ldx));
  SQZ_TRY(check_quantized("q", q, ldq, "scales", scales, rows, channels, groups));
  const Kernels *kernels;
  SQZ_TRY(begin(Op::quantize_rows_s8, &kernels));
  quantize(*kernels, {rows, groups, channels / groups, x, ldx, q, ldq, scales, groups});
  return SQZ_OK;
}

sqz_status sqz_pwconv_f32(int64_t rows, int64_t groups, int64_t c_in, int64_t c_out, const float *x, int64_t ldx,
                          const float *packed, const float *bias, sqz_activation activation, const float *residual,
                          int64_t ldr, float *out, int64_t ldo) {
  sqz_pwconv_input input = {};
  input.rows = rows;
  input.c_in = c_in;
  input.x = x;
  input.ldx = ldx;
  sqz_pwconv_part part = {};
  part.dtype = SQZ_F32;
  part.groups = groups;
  part.c_out = c_out;
  part.packed = packed;
  part.bias = bias;
  part.activation = activation;
  part.residual = residual;
  part.ldr = ldr;
  part.out = out;
  part.ldo = ldo;
  SQZ_TRY(check_part(input, part));
  SQZ_TRY(check_input(input));
  return run_parts(input, 1, &part);
}

sqz_status sqz_pwconv(const sqz_pwconv_input *input, int64_t count, const sqz_pwconv_part *parts) {
  SQZ_CHECK(input, "input: expected a pointer, got NULL");
  SQZ_TRY(check_input(*input));
  SQZ_CHECK(count >= 0, "count: expected a number >= 0, got %lld", (long long)count);
  SQZ_CHECK(parts || count == 0, "parts: expected a pointer, got NULL");
  for (int64_t i = 0; i < count; ++i)
    if (const sqz_status status = check_part(*input, parts[i])) {
      char what[kMessageSize];
      snprintf(what, sizeof what, "%s", sqz_error_message());
      return fail(status, "parts[%lld].%s", (long long)i, what);
    }
  return run_parts(*input, count, parts);
}

}  // extern "C"
