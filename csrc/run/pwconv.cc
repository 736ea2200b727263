#include "run/pwconv.h"

#include "run/run.h"
#include "schedule/pwconv.h"

namespace sqz {

namespace {

static_assert(kPanelBlock % kPwconvPanels == 0, "a task has whole tiles of the widest kind");
constexpr int kMostParts = 8;  // convolutions of a parallel region; each has a description on the stack

void quantize(const Kernels &kernels, const QuantizeRows &all) {
  for_chunks(all.rows, row_grain(all.groups * all.n + 1), [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    QuantizeRows part = all;
    part.rows = end - begin;
    part.x += begin * all.ldx;
    part.q += begin * all.ldq;
    part.scales += begin * all.lds;
    kernels.quantize_rows_s8(part);
  });
}

PwconvSizes sizes_of(const PwconvInput &x, const PwconvPart &p) {
  return {x.rows, p.groups, x.c_in, p.c_out, is_int8(p.dtype), p.q_out ? p.groups_out : 0};
}

struct Part {
  pwconv_fn run;
  Pwconv args;
  QuantizeRows store;  // where the result is quantised: all rows of it, without x
  PwconvSchedule schedule;

  Part() {}
  Part(const Kernels &kernels, const PwconvInput &x, const PwconvPart &p, int threads)
      : args{}, store{}, schedule(sizes_of(x, p), threads) {
    run = is_int8(p.dtype) ? kernels.pwconv_s8 : p.dtype == SQZ_F16 ? kernels.pwconv_f16 : kernels.pwconv_f32;
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
    args.activate = is_int8(p.dtype) ? kernels.activation_s8 : kernels.activation_f32;
    if (p.q_out)
      store = {x.rows,  p.groups_out, p.c_out / p.groups_out, nullptr,      0,
               p.q_out, p.ldq_out,    p.scales_out,           p.groups_out, p.rotate_out != 0};
  }

  // `block` is the thread's scratch memory.
  void task(const Kernels &kernels, int64_t i, float *block) const {
    FloatEnvironment environment;
    const PwconvTask t = schedule.task(i);
    const StoreWidths &widths = schedule.store;
    if (!widths.parts) return run(args, t.row_begin, t.row_end, t.panel_begin, t.panel_end);
    Pwconv p = args;
    p.out = block;
    p.ldo = widths.ld;
    p.out_at = t.row_begin * widths.ld + t.part * widths.width;
    run(p, t.row_begin, t.row_end, t.panel_begin, t.panel_end);
    const int64_t groups = store.groups / widths.parts, g = t.part * groups;
    QuantizeRows to = store;
    to.rows = t.row_end - t.row_begin;
    to.groups = groups;
    to.x = block;
    to.ldx = widths.ld;
    to.q += t.row_begin * to.ldq + g * to.width(to.n);
    to.scales += t.row_begin * to.lds + g;
    kernels.quantize_rows_s8(to);
  }
};

// The first part that reads the same quantised rows of x.
int first_of_groups(const PwconvPart *parts, int i) {
  for (int j = 0; j < i; ++j)
    if (parts[j].dtype == parts[i].dtype && parts[j].groups == parts[i].groups) return j;
  return i;
}

// Scratch memory of a call, which its regions use one after the other: for each thread a block of a result, and the
// rows of x, quantised once for each dtype and number of groups.
struct Room {
  int threads;
  int64_t block = 0, quantized = 0;  // floats of a block, and of a row of x
  float *memory = nullptr;

  void include(const PwconvInput &x, int count, const PwconvPart *parts) {
    int64_t floats = 0;
    for (int i = 0; i < count; ++i) {
      block = at_least(block, store_widths(sizes_of(x, parts[i]), threads).scratch_floats());
      if (!is_int8(parts[i].dtype) || x.q || first_of_groups(parts, i) < i) continue;
      floats += ceil_div(quantized_width(x.c_in, parts[i].groups), 4) + parts[i].groups + 1;
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
    int count, threads;
    Part parts[kMostParts];
    int64_t tasks[kMostParts];
  } c = {kernels, room.memory, room.block, count, 1, {}, {}};
  // Weights in float are so long that their order in memory matters more than what the next op reads.
  if (is_int8(parts[0].dtype)) c.threads = room.threads;
  float *free = room.memory + room.block * room.threads;
  int64_t tasks = 0;
  for (int i = 0; i < count; ++i) {
    const PwconvPart &p = parts[i];
    PwconvInput input = x;
    if (is_int8(p.dtype) && !x.q) {
      const int first = first_of_groups(parts, i);
      if (first < i) {
        const Pwconv &same = c.parts[first].args;
        input.q = same.q, input.ldq = same.ldq, input.scales = same.scales;
      } else {
        float *scales = free;
        uint8_t *q = reinterpret_cast<uint8_t *>(scales + ceil_div(x.rows * p.groups, 16) * 16);
        input.q = q, input.ldq = quantized_width(x.c_in, p.groups), input.scales = scales;
        free += ceil_div(x.rows * p.groups, 16) * 16 + ceil_div(x.rows * input.ldq, 64) * 16;
        const bool rotate = p.dtype == SQZ_S8_ROTATED;
        quantize(kernels, {x.rows, p.groups, x.c_in / p.groups, x.x, x.ldx, q, input.ldq, scales, p.groups, rotate});
      }
    }
    c.parts[i] = Part(kernels, input, p, room.threads);
    if (p.c_out == 0 && p.q_out) quantize(kernels, c.parts[i].store);  // no channels, but scales
    tasks += c.tasks[i] = c.parts[i].schedule.tasks();
  }
  parallel_for(
      tasks,
      [](void *context, int64_t i, int worker) {
        const Context &c = *static_cast<const Context *>(context);
        const PartTask t = c.count == 1 ? PartTask{0, i} : part_task(c.count, c.tasks, c.threads, i);
        c.parts[t.part].task(c.kernels, t.task, c.memory + worker * c.block);
      },
      &c, room.threads);
}

}  // namespace

int64_t pwconv_packed_size(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out) {
  if (!is_int8(dtype)) return c_in * ceil_div(c_out / groups, 16) * 16;
  return groups * ceil_div(c_out / groups, 16) * PackedS8::panel_bytes(c_in / groups);
}

bool run_pwconv_pack(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                     sqz_dtype weight_dtype, void *packed, float *worst) {
  if (c_out == 0 || (c_in == 0 && !is_int8(dtype))) return true;  // int8 has sums and scales even without weights
  FloatEnvironment environment;
  const int64_t group_in = c_in / groups, group_out = c_out / groups;
  if (dtype == SQZ_F16)
    return pwconv_pack_f16(groups, group_in, group_out, weight, weight_dtype, static_cast<uint16_t *>(packed), worst);
  if (is_int8(dtype))
    pwconv_pack_s8(groups, group_in, group_out, weight, weight_dtype, dtype == SQZ_S8_ROTATED,
                   static_cast<uint8_t *>(packed));
  else
    pwconv_pack_f32(groups, group_in, group_out, weight, weight_dtype, static_cast<float *>(packed));
  return true;
}

int64_t quantized_width(int64_t channels, int64_t groups) { return groups * QuantizeRows::width(channels / groups); }

sqz_status run_quantize_rows(int64_t rows, int64_t channels, int64_t groups, bool rotate, const float *x, int64_t ldx,
                             uint8_t *q, int64_t ldq, float *scales) {
  const Kernels *kernels;
  SQZ_TRY(begin(Op::quantize_rows_s8, &kernels));
  quantize(*kernels, {rows, groups, channels / groups, x, ldx, q, ldq, scales, groups, rotate});
  return SQZ_OK;
}

sqz_status run_pwconv(const PwconvInput &x, int64_t count, const PwconvPart *parts) {
  const Kernels *kernels = nullptr;
  for (int64_t i = 0; i < count; ++i) {
    if ((is_int8(parts[i].dtype) && !x.q) || parts[i].q_out) SQZ_TRY(begin(Op::quantize_rows_s8, &kernels));
    SQZ_TRY(begin(is_int8(parts[i].dtype)     ? Op::pwconv_s8
                  : parts[i].dtype == SQZ_F16 ? Op::pwconv_f16
                                              : Op::pwconv_f32,
                  &kernels));
  }
  if (x.rows == 0) return SQZ_OK;
  const auto of_region = [&](int64_t first) { return static_cast<int>(at_most(count - first, kMostParts)); };
  // Allocate scratch for all regions first, so that a failure leaves every output unwritten. The number of threads is
  // read once: another thread may change it at any time.
  Room room{num_threads()};
  for (int64_t i = 0; i < count; i += kMostParts) room.include(x, of_region(i), parts + i);
  SQZ_TRY(room.get(x.rows));
  for (int64_t i = 0; i < count; i += kMostParts) run_region(*kernels, x, of_region(i), parts + i, room);
  return SQZ_OK;
}

}  // namespace sqz
