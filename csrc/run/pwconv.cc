#include "run/pwconv.h"

#include "run/run.h"

namespace sqz {

namespace {

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

  static Store of(const PwconvPart &p, int64_t rows) {
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
  Part(const Kernels &kernels, const PwconvInput &x, const PwconvPart &p, int threads) {
    const bool s8 = p.dtype == SQZ_S8;
    run = s8 ? kernels.pwconv_s8 : p.dtype == SQZ_F16 ? kernels.pwconv_f16 : kernels.pwconv;
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
int first_of_groups(const PwconvPart *parts, int i) {
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

  void include(const PwconvInput &x, int count, const PwconvPart *parts) {
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
void run_region(const Kernels &kernels, const PwconvInput &x, int count, const PwconvPart *parts, const Room &room) {
  struct Context {
    const Kernels &kernels;
    float *memory;
    int64_t block;
    Part parts[kMostParts];
  } c = {kernels, room.memory, room.block, {}};
  float *free = room.memory + room.block * room.threads;
  int64_t tasks = 0;
  for (int i = 0; i < count; ++i) {
    const PwconvPart &p = parts[i];
    PwconvInput input = x;
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

}  // namespace

int64_t pwconv_packed_size(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out) {
  if (dtype != SQZ_S8) return c_in * ceil_div(c_out / groups, 16) * 16;
  return groups * ceil_div(c_out / groups, 16) * PackedS8::panel_bytes(c_in / groups);
}

bool run_pwconv_pack(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                     sqz_dtype weight_dtype, void *packed, float *worst) {
  if (c_out == 0 || (c_in == 0 && dtype != SQZ_S8)) return true;  // int8 has sums and scales even without weights
  FloatEnvironment environment;
  const int64_t group_in = c_in / groups, group_out = c_out / groups;
  if (dtype == SQZ_F16)
    return pwconv_pack_f16(groups, group_in, group_out, weight, weight_dtype, static_cast<uint16_t *>(packed), worst);
  if (dtype == SQZ_S8)
    pwconv_pack_s8(groups, group_in, group_out, weight, weight_dtype, static_cast<uint8_t *>(packed));
  else
    pwconv_pack_f32(groups, group_in, group_out, weight, weight_dtype, static_cast<float *>(packed));
  return true;
}

int64_t quantized_width(int64_t channels, int64_t groups) { return groups * QuantizeRows::width(channels / groups); }

sqz_status run_quantize_rows(int64_t rows, int64_t channels, int64_t groups, const float *x, int64_t ldx, uint8_t *q,
                             int64_t ldq, float *scales) {
  const Kernels *kernels;
  SQZ_TRY(begin(kQuantizeRowsS8, &kernels));
  quantize(*kernels, {rows, groups, channels / groups, x, ldx, q, ldq, scales, groups});
  return SQZ_OK;
}

sqz_status run_pwconv(const PwconvInput &x, int64_t count, const PwconvPart *parts) {
  const Kernels *kernels = nullptr;
  for (int64_t i = 0; i < count; ++i)
    SQZ_TRY(begin(parts[i].dtype == SQZ_S8 ? kPwconvS8 : parts[i].dtype == SQZ_F16 ? kPwconvF16 : kPwconv, &kernels));
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

}  // namespace sqz
