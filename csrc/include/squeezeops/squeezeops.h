/* squeezeops: the C interface, and the only public header.
 *
 * Conventions
 *   - Matrices are row-major float32; ldX is the distance between rows in elements, ldX >= columns.
 *   - Every computing function returns a status; sqz_error_message() then says what was wrong, on the calling thread.
 *   - No function keeps a pointer after it returns, except that a packed weight belongs to its caller.
 *   - `out` may be `x` in row-wise functions (layer_norm, l2_normalize, softmax, activation); nothing else may overlap.
 *   - Scalars are double and rounded to float32 inside, so that the caller's rounding mode does not matter.
 *   - Each computing function runs with round-to-nearest and denormals on, and restores the caller's modes.
 *   - Everything may be called from several threads at once.
 */
#ifndef SQUEEZEOPS_SQUEEZEOPS_H_
#define SQUEEZEOPS_SQUEEZEOPS_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SQZ_API __attribute__((visibility("default")))
#else
#define SQZ_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  SQZ_OK = 0,
  SQZ_INVALID = 1,    /* an argument is wrong */
  SQZ_NO_MEMORY = 2,  /* scratch memory could not be had */
  SQZ_UNSUPPORTED = 3 /* this machine or this build cannot do it */
} sqz_status;

typedef enum {
  SQZ_ACT_NONE = 0,
  SQZ_ACT_GELU = 1,      /* x * Phi(x), the erf form */
  SQZ_ACT_GELU_TANH = 2, /* the tanh approximation */
  SQZ_ACT_RELU = 3,
  SQZ_ACT_TANH = 4
} sqz_activation;

typedef enum { SQZ_F32 = 0, SQZ_F16 = 1 } sqz_dtype;

typedef enum {
  SQZ_MASK_NONE = 0,
  SQZ_MASK_BOOL = 1, /* uint8: 0 excludes the key */
  SQZ_MASK_ADD = 2   /* float32: -inf excludes the key, a finite value is added to the scaled score */
} sqz_mask_kind;

typedef enum {
  SQZ_MASKED_UNIFORM = 0, /* a row with every key excluded gives 1/n to each */
  SQZ_MASKED_ZERO = 1     /* ... gives zeros */
} sqz_fully_masked;

/* ---- library ------------------------------------------------------------------------------------------------- */

SQZ_API const char *sqz_version(void);
/* What went wrong in the last failing call on this thread; "" if none failed. */
SQZ_API const char *sqz_error_message(void);

/* ISAs that this architecture has kernels for, best first: names and what became of each. */
typedef enum {
  SQZ_ISA_NOT_COMPILED = 0, /* the compiler lacked the flags */
  SQZ_ISA_NOT_ON_CPU = 1,   /* the processor or the operating system lacks it */
  SQZ_ISA_RUNNABLE = 2
} sqz_isa_state;
SQZ_API int32_t sqz_isa_count(void);
SQZ_API const char *sqz_isa_name(int32_t index);
SQZ_API sqz_isa_state sqz_isa_get_state(int32_t index);
/* The ISA whose kernels run: the best, or that of SQUEEZEOPS_ISA or sqz_force_isa. NULL if the choice is invalid. */
SQZ_API const char *sqz_isa_chosen(void);
/* Force an ISA by name for the whole process; NULL returns to the default. */
SQZ_API sqz_status sqz_force_isa(const char *name);

/* One row of the table of kernels. */
typedef struct {
  const char *op;
  const char *dtype;
  const char *isa;
  const char *tile;
  const char *symbol;
} sqz_kernel_info;
SQZ_API int32_t sqz_kernel_count(void);
SQZ_API sqz_status sqz_kernel_get_info(int32_t index, sqz_kernel_info *info);
/* Symbol of the kernel that last ran for this thread; "" before the first. */
SQZ_API const char *sqz_last_kernel(void);

/* Threads used by one call, the caller's included. 0 returns to the default (SQUEEZEOPS_NUM_THREADS, else what the
 * affinity mask and the cgroup quota allow). */
SQZ_API sqz_status sqz_set_num_threads(int64_t n);
/* -1 if SQUEEZEOPS_NUM_THREADS is invalid. */
SQZ_API int32_t sqz_get_num_threads(void);
/* CPUs that the cgroup quota grants (0: no limit), read below the directory `root` ("" is the real system). */
SQZ_API double sqz_cpu_quota(const char *root);

/* ---- row-wise ops ---------------------------------------------------------------------------------------------- */

/* out[r] = (s - mean(s)) / sqrt(var(s) + eps) * weight + bias with s = x[r] + residual[r].
 * residual, weight (n), bias (n) may be NULL. */
SQZ_API sqz_status sqz_layer_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual,
                                      int64_t ldr, const float *weight, const float *bias, double eps, float *out,
                                      int64_t ldo);

/* out[r] = x[r] / max(sqrt(sum(x[r] * x[r])), eps). */
SQZ_API sqz_status sqz_l2_normalize_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, double eps, float *out,
                                        int64_t ldo);

/* out[r] = softmax(x[r] * scale, masked). mask has n entries a row, mask_stride elements apart (0: one row for all). */
SQZ_API sqz_status sqz_softmax_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask,
                                   sqz_mask_kind mask_kind, int64_t mask_stride, double scale,
                                   sqz_fully_masked fully_masked, float *out, int64_t ldo);

/* out[i] = activation(x[i]). */
SQZ_API sqz_status sqz_activation_f32(sqz_activation activation, int64_t n, const float *x, float *out);

/* ---- pooling --------------------------------------------------------------------------------------------------- */

/* out[b] = mean of the rows of sequence b that the mask keeps, added in order; zeros if there are none.
 * Row l of sequence b is at x + (b * length + l) * ldx. mask may be NULL; it has `length` bytes a sequence, 0 to
 * exclude the row, mask_stride apart (0: one mask for all). */
SQZ_API sqz_status sqz_mean_pool_f32(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx,
                                     const uint8_t *mask, int64_t mask_stride, float *out, int64_t ldo);

/* ---- embedding ------------------------------------------------------------------------------------------------- */

/* out[i] = table[ids[i]]; table is (table_rows, n) of table_dtype, widened exactly. */
SQZ_API sqz_status sqz_embedding_f32(int64_t count, int64_t n, const int64_t *ids, const void *table,
                                     sqz_dtype table_dtype, int64_t table_rows, float *out, int64_t ldo);

/* out[i] = layer_norm((table0[ids0[i]] + table1[ids1[i]]) + table2[ids2[i]]). */
SQZ_API sqz_status sqz_embedding_layer_norm_f32(int64_t count, int64_t n, const int64_t *const ids[3],
                                                const void *const tables[3], const sqz_dtype dtypes[3],
                                                const int64_t table_rows[3], const float *weight, const float *bias,
                                                double eps, float *out, int64_t ldo);

/* ---- grouped pointwise convolution ----------------------------------------------------------------------------- */

/* Floats in the packed form of a weight (c_out, c_in / groups); -1 if the sizes are invalid. */
SQZ_API int64_t sqz_pwconv_packed_size_f32(int64_t groups, int64_t c_in, int64_t c_out);
/* Pack a row-major weight. |w| < 2^-126 becomes 0. packed: 64-byte aligned is fastest. */
SQZ_API sqz_status sqz_pwconv_pack_f32(int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                                       sqz_dtype weight_dtype, float *packed);
/* out (rows, c_out) = activation(conv(x) + bias) + residual; bias (c_out) and residual may be NULL. */
SQZ_API sqz_status sqz_pwconv_f32(int64_t rows, int64_t groups, int64_t c_in, int64_t c_out, const float *x,
                                  int64_t ldx, const float *packed, const float *bias, sqz_activation activation,
                                  const float *residual, int64_t ldr, float *out, int64_t ldo);

/* ---- attention ------------------------------------------------------------------------------------------------- */

/* Scaled dot-product attention of `batch` sequences; c = heads * head_size columns in q, k, v and out.
 * Sequence b has query rows q_offsets[b] .. q_offsets[b+1] and key rows k_offsets[b] .. k_offsets[b+1].
 * Entry (b, head, query, key) of the mask is at b*mask_strides[0] + head*mask_strides[1] + query*mask_strides[2] + key,
 * or, with mask_ragged, at k_offsets[b] + key.
 * With `scores` the masked, scaled scores before softmax are written there instead, (heads, queries, keys) a sequence,
 * one sequence after the other; v and out are then unused. */
typedef struct {
  int64_t batch;
  const int32_t *q_offsets;
  const int32_t *k_offsets;
  int64_t heads;
  int64_t head_size;
  const float *q;
  int64_t ldq;
  const float *k;
  int64_t ldk;
  const float *v;
  int64_t ldv;
  const void *mask;
  sqz_mask_kind mask_kind;
  int64_t mask_strides[3];
  int32_t mask_ragged;
  double scale; /* sqz_attention_scale(head_size) as a rule */
  sqz_fully_masked fully_masked;
  float *out;
  int64_t ldo;
  float *scores;
} sqz_attention_args;
SQZ_API sqz_status sqz_attention_f32(const sqz_attention_args *args);
/* 1 / sqrt(head_size) as a float32; 1 for head_size < 1. */
SQZ_API double sqz_attention_scale(int64_t head_size);

/* ---- limits of the machine, to judge a measurement by ------------------------------------------------------------ */

/**
 * Measure how fast the machine multiplies and adds: in registers alone, with the instructions of the instruction set
 * whose kernels run, on all threads of a call at once.
 *
 * @param seconds                how long, above 0 and at most 10; 50e-6 will do
 * @param operations_per_second  where the result goes; a multiply-add counts as two
 */
SQZ_API sqz_status sqz_peak_fma(double seconds, double *operations_per_second);

/**
 * Measure how fast the machine reads: the sum of an array, on all threads of a call; the best of reading it in order,
 * with prefetching, and from four places at once.
 *
 * @param n                 how many floats, 2^20 at least; for the speed of memory take several times the last cache
 * @param x                 the array
 * @param bytes_per_second  where the result goes
 */
SQZ_API sqz_status sqz_peak_read(int64_t n, const float *x, double *bytes_per_second);

#ifdef __cplusplus
}
#endif

#endif /* SQUEEZEOPS_SQUEEZEOPS_H_ */
