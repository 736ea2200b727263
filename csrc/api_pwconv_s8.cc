// The C interface to quantised rows and to the convolution of int8.
#include "api_checks.h"

using namespace sqz;

namespace {

sqz_status check_group_in(int64_t groups, int64_t c_in) {
  SQZ_CHECK(c_in / groups <= PwconvS8::kMostGroupIn, "c_in: expected at most 2^17 channels a group, got %lld",
            (long long)(c_in / groups));
  return SQZ_OK;
}

sqz_status check_channels(int64_t channels, int64_t groups) {
  SQZ_CHECK(channels >= 0 && channels <= INT64_C(1) << 28, "channels: expected 0 to 2^28, got %lld",
            (long long)channels);
  SQZ_CHECK(groups >= 1 && channels % groups == 0, "groups: expected a divisor of %lld channels, got %lld",
            (long long)channels, (long long)groups);
  return SQZ_OK;
}

sqz_status check_sizes(int64_t groups, int64_t c_in, int64_t c_out) {
  SQZ_TRY(check_groups(groups, c_in, c_out));
  return check_group_in(groups, c_in);
}

sqz_status check_quantized(const char *name, const void *q, int64_t ldq, const char *scales_name, const float *scales,
                           int64_t rows, int64_t channels, int64_t groups) {
  SQZ_TRY(check_matrix(name, q, rows, groups * QuantizeRows::width(channels / groups), ldq));
  SQZ_TRY(check_matrix(scales_name, scales, rows, groups, groups));
  return SQZ_OK;
}

void quantize(const Kernels *kernels, const QuantizeRows &all) {
  for_chunks(all.rows, kRowGrain / (all.groups * all.n + 1) + 1, [&](int64_t begin, int64_t end) {
    FloatEnvironment environment;
    QuantizeRows part = all;
    part.rows = end - begin;
    part.x += begin * all.ldx;
    part.q += begin * all.ldq;
    part.scales += begin * all.lds;
    kernels->quantize_rows_s8(part);
  });
}

// Rows that, quantised, take their turn at the panels: they stay in the second cache.
int64_t rows_at_a_time(int64_t rows, int64_t group_in) {
  constexpr int64_t kBytes = 384 * 1024, kMultiple = 24;  // a multiple of every tile's height
  const int64_t most = kBytes / (group_in + 1) / kMultiple * kMultiple + kMultiple;
  return ceil_div(ceil_div(rows, ceil_div(rows, most)), kMultiple) * kMultiple;
}

// To p.out.
void convolve(pwconv_s8_fn run, const PwconvS8 &p, int64_t rows) {
  struct Context {
    const PwconvS8 &p;
    pwconv_s8_fn run;
    int64_t rows, row_block, row_blocks, panels, unit;
  } c = {p, run, rows, rows_at_a_time(rows, p.group_in), 0, p.groups * p.panels_per_group(), 0};
  const int threads = num_threads();
  constexpr int64_t kPanelBlock = 3, kGrain = INT64_C(1) << 21;  // a multiple of every tile's width; products
  // One thread has it all as one task, in which each run of panels is fetched during the one before it. Several have up
  // to four tasks each, all of about one size.
  const int64_t work = c.panels * rows * p.group_in * 16;
  const int64_t each = at_most(work / (threads * kGrain), 4);
  const int64_t parts = threads == 1 || work < kGrain ? 1 : threads * (each < 1 ? 1 : each);
  c.unit = ceil_div(ceil_div(c.panels, parts), kPanelBlock) * kPanelBlock;
  const int64_t units = ceil_div(c.panels, c.unit);
  if (units < parts) {  // few channels: the rows are split too
    const int64_t block = ceil_div(ceil_div(rows, ceil_div(parts, units)), 24) * 24;
    if (block < c.row_block) c.row_block = block;
  }
  c.row_blocks = ceil_div(rows, c.row_block);
  parallel_for(
      units * c.row_blocks,
      [](void *context, int64_t i, int) {
        const Context &x = *static_cast<const Context *>(context);
        const int64_t panel = i / x.row_blocks * x.unit, row = i % x.row_blocks * x.row_block;
        FloatEnvironment environment;
        x.run(x.p, row, at_most(row + x.row_block, x.rows), panel, at_most(panel + x.unit, x.panels));
      },
      &c);
}

// Rows of a result that is quantised as soon as all channels of a group that will read it are there.
constexpr int64_t kStoreRows = 32;

struct Store {
  QuantizeRows to;  // all rows; x is not set
  int64_t parts;    // of a row: its groups, or 1
  int64_t width;    // channels of a part
  int64_t ld;       // floats of a row in scratch memory

  Store(const PwconvS8 &p, const QuantizeRows &to) : to(to), parts(to.groups) {
    // Parts must begin where a panel does.
    for (int64_t g = 1; g < to.groups; ++g)
      if (g * to.n % p.group_out % 16 != 0) parts = 1;
    width = to.groups * to.n / parts;
    ld = ceil_div(width, 16) * 16 + 16;  // not a power of two, of which rows would share cache sets
  }
  int64_t floats() const { return kStoreRows * ld; }
};

void convolve_and_quantize(const Kernels *kernels, const PwconvS8 &p, int64_t rows, const Store &store, float *memory,
                           int threads) {
  struct Context {
    const PwconvS8 &p;
    const Kernels *kernels;
    int64_t rows, row_blocks;
    const Store &store;
    float *memory;
  } c = {p, kernels, rows, ceil_div(rows, kStoreRows), store, memory};
  parallel_for(
      c.row_blocks * store.parts,
      [](void *context, int64_t i, int worker) {
        const Context &x = *static_cast<const Context *>(context);
        const Store &store = x.store;
        const int64_t part = i / x.row_blocks, row = i % x.row_blocks * kStoreRows;
        const int64_t row_end = at_most(row + kStoreRows, x.rows), column = part * store.width;
        float *block = x.memory + worker * store.floats();
        const auto panel_of = [&](int64_t c) {
          return c / x.p.group_out * x.p.panels_per_group() + ceil_div(c % x.p.group_out, 16);
        };
        PwconvS8 p = x.p;
        p.out = block;
        p.ldo = store.ld;
        p.out_at = row * store.ld + column;
        FloatEnvironment environment;
        x.kernels->pwconv_s8(p, row, row_end, panel_of(column), panel_of(column + store.width));
        const int64_t groups = store.to.groups / store.parts, g = part * groups;
        QuantizeRows to = store.to;
        to.rows = row_end - row;
        to.groups = groups;
        to.x = block;
        to.ldx = store.ld;
        to.q += row * to.ldq + g * to.width(to.n);
        to.scales += row * to.lds + g;
        x.kernels->quantize_rows_s8(to);
      },
      &c, threads);
}

}  // namespace

extern "C" {

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
  SQZ_TRY(begin(kQuantizeRowsS8, &kernels));
  quantize(kernels, {rows, groups, channels / groups, x, ldx, q, ldq, scales, groups});
  return SQZ_OK;
}

int64_t sqz_pwconv_packed_size_s8(int64_t groups, int64_t c_in, int64_t c_out) {
  if (check_sizes(groups, c_in, c_out)) return -1;
  PwconvS8 p = {};
  p.group_in = c_in / groups;
  p.group_out = c_out / groups;
  return groups * p.panels_per_group() * p.panel_bytes();
}

sqz_status sqz_pwconv_pack_s8(int64_t groups, int64_t c_in, int64_t c_out, const void *weight, sqz_dtype weight_dtype,
                              void *packed) {
  SQZ_TRY(check_sizes(groups, c_in, c_out));
  SQZ_TRY(check_enum("weight_dtype", weight_dtype, SQZ_F16));
  SQZ_CHECK(weight || c_in == 0 || c_out == 0, "weight: expected a pointer, got NULL");
  SQZ_CHECK(packed || c_out == 0, "packed: expected a pointer, got NULL");
  FloatEnvironment environment;
  if (c_out > 0)
    pwconv_pack_s8(groups, c_in / groups, c_out / groups, weight, weight_dtype, static_cast<uint8_t *>(packed));
  return SQZ_OK;
}

sqz_status sqz_pwconv_s8(const sqz_pwconv_s8_args *args) {
  SQZ_CHECK(args, "args: expected a pointer, got NULL");
  const sqz_pwconv_s8_args &a = *args;
  SQZ_TRY(check_sizes(a.groups, a.c_in, a.c_out));
  if (a.q)
    SQZ_TRY(check_quantized("q", a.q, a.ldq, "scales", a.scales, a.rows, a.c_in, a.groups));
  else
    SQZ_TRY(check_matrix("x", a.x, a.rows, a.c_in, a.ldx));
  if (a.residual) SQZ_TRY(check_matrix("residual", a.residual, a.rows, a.c_out, a.ldr));
  if (a.q_out) {
    SQZ_CHECK(a.groups_out >= 1 && a.c_out % a.groups_out == 0, "groups_out: expected a divisor of %lld, got %lld",
              (long long)a.c_out, (long long)a.groups_out);
    SQZ_TRY(check_quantized("q_out", a.q_out, a.ldq_out, "scales_out", a.scales_out, a.rows, a.c_out, a.groups_out));
  } else {
    SQZ_TRY(check_matrix("out", a.out, a.rows, a.c_out, a.ldo));
  }
  SQZ_CHECK(a.packed || a.c_out == 0, "packed: expected a pointer, got NULL");
  SQZ_TRY(check_enum("activation", a.activation, SQZ_ACT_TANH));
  const Kernels *kernels;
  SQZ_TRY(begin(kPwconvS8, &kernels));
  if (a.rows == 0) return SQZ_OK;

  PwconvS8 p = {};
  p.groups = a.groups;
  p.group_in = a.c_in / a.groups;
  p.group_out = a.c_out / a.groups;
  p.q = a.q;
  p.ldq = a.ldq;
  p.scales = a.scales;
  p.packed = static_cast<const uint8_t *>(a.packed);
  p.bias = a.bias;
  p.residual = a.residual;
  p.ldr = a.ldr;
  p.out = a.out;
  p.ldo = a.ldo;
  p.activation = a.activation;
  QuantizeRows to = {};
  to.rows = a.rows;
  to.groups = a.q_out ? a.groups_out : 1;
  to.n = a.c_out / to.groups;
  to.q = a.q_out;
  to.ldq = a.ldq_out;
  to.scales = a.scales_out;
  to.lds = to.groups;
  const Store store(p, to);

  // Scratch memory: quantised rows of x, their scales, and for each thread a part of the result.
  const int threads = num_threads();
  const int64_t width = a.groups * QuantizeRows::width(p.group_in), row_floats = width / 4 + a.groups;
  const int64_t blocks = a.q_out && a.c_out > 0 ? store.floats() * threads : 0;
  float *memory = nullptr;
  if (!a.q || blocks > 0) {
    const bool fits = a.rows <= (INT64_MAX / 16 - blocks) / (row_floats + 1);
    memory = fits ? scratch(blocks + (a.q ? 0 : a.rows * row_floats) + 16) : nullptr;
    if (!memory)
      return fail(SQZ_NO_MEMORY, "x: expected scratch memory for %lld rows of %lld bytes, got none", (long long)a.rows,
                  (long long)(4 * row_floats));
  }
  if (!a.q) {
    float *scales = memory + blocks;
    uint8_t *q = reinterpret_cast<uint8_t *>(scales + ceil_div(a.rows * a.groups, 16) * 16);
    quantize(kernels, {a.rows, a.groups, p.group_in, a.x, a.ldx, q, width, scales, a.groups});
    p.q = q;
    p.ldq = width;
    p.scales = scales;
  }
  if (a.q_out && a.c_out > 0)
    convolve_and_quantize(kernels, p, a.rows, store, memory, threads);
  else if (a.q_out)
    quantize(kernels, to);  // of no channels: the scales
  else if (a.c_out > 0)
    convolve(kernels->pwconv_s8, p, a.rows);
  return SQZ_OK;
}

}  // extern "C"
