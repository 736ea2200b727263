/**
 * @file
 * squeezeops: the C interface, and the only public header.
 *
 * Every operation exists twice. The functions of an argument struct, such as sqz_layer_norm(), take arrays of any shape
 * and strides, check everything that can be checked, and tell the shape of the result. The pointer-and-stride
 * functions, such as sqz_layer_norm_f32(), take sizes and pointers to dense rows. Both run the same kernels.
 *
 * Conventions, for every function unless its own text says otherwise:
 *
 * - Shapes and strides. A matrix (rows, n) is row-major; element (i, j) is at p[i * ld + j]. The row stride ld and all
 *   other strides count elements, and ld >= n. (The strides of an sqz_array count bytes.) Sizes may be 0; a pointer to
 *   no elements may be NULL.
 * - Types. float is IEEE binary32; float16 is IEEE binary16 in a uint16_t. A pointer is aligned to its element; 64-byte
 *   alignment is fastest.
 * - Scalars are double and rounded to float inside, so that the caller's rounding mode has no part in it.
 * - Ownership. The caller owns all memory that it passes; no function keeps a pointer after it returns. What a function
 *   returns a pointer to belongs to the library and is never freed by the caller.
 * - Overlap. Where the text of `out` says that it may be x, it may be exactly `x`, with the same row stride. Nothing
 *   else that is written may overlap what is read.
 * - Errors. A function returns a status and, unless that is SQZ_OK, leaves its output as it was; sqz_error_message()
 *   then says, on the same thread, which argument was wrong: "argument: expected ..., got ...". NULL, negative sizes
 *   and sizes whose products overflow are such errors. No function can check that a pointer leads to as much memory as
 *   the sizes say.
 * - Special values. NaN and infinity follow IEEE 754. A call runs with round-to-nearest and subnormal numbers,
 *   whatever the caller has set, and restores that.
 * - Threads. Any function may be called from several threads at once. A call splits its work over threads of the
 *   library's own; their number changes no bit of the result. After fork() the child may go on calling.
 * - Results have the same bits on every instruction set but sse2, which lacks a fused multiply-add.
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

/* In C++ an enumeration without a type may hold no other value than its own. Those of callers are checked first. */
#if defined(__cplusplus)
#define SQZ_ENUM_INT : int
#else
#define SQZ_ENUM_INT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What a function returns; 0 is success. */
typedef enum SQZ_ENUM_INT {
  SQZ_OK = 0,
  SQZ_INVALID = 1,     /**< an argument has a wrong shape or value */
  SQZ_NO_MEMORY = 2,   /**< memory for a copy or for scratch could not be allocated */
  SQZ_UNSUPPORTED = 3, /**< this machine or this build cannot do it, or an environment variable is wrong */
  SQZ_TYPE = 4,        /**< an argument has a wrong type */
  SQZ_NEEDS_OUT = 5    /**< no error: the call waits for memory for its result, see sqz_array */
} sqz_status;

/** A function applied to each element. */
typedef enum SQZ_ENUM_INT {
  SQZ_ACT_NONE = 0,
  SQZ_ACT_GELU = 1,      /**< x * Phi(x), with the normal distribution function Phi */
  SQZ_ACT_GELU_TANH = 2, /**< x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2 */
  SQZ_ACT_RELU = 3,      /**< 0 where x < 0, so that NaN stays NaN */
  SQZ_ACT_TANH = 4
} sqz_activation;

/** Type of elements. Weights and embedding tables behind a `const void *` have one of the first three. */
typedef enum SQZ_ENUM_INT {
  SQZ_NONE = 0, /**< no array: the argument is not given */
  SQZ_F32 = 1,
  SQZ_F16 = 2,
  SQZ_S8 = 3,
  SQZ_S8_ROTATED = 4, /**< of weights alone: int8 for rotated rows, see sqz_quantize_rows_args */
  SQZ_U8 = 5,
  SQZ_BOOL = 6, /**< uint8_t; 0 is false, everything else is true */
  SQZ_S32 = 7,
  SQZ_S64 = 8,
  SQZ_BYTE = 9,  /**< SQZ_U8 or SQZ_BOOL, whichever is expected: for languages that have one type for both */
  SQZ_OTHER = 10 /**< anything else, such as another byte order: always refused, with sqz_array.type in the message */
} sqz_dtype;

/** What a mask holds. */
typedef enum SQZ_ENUM_INT {
  SQZ_MASK_NONE = 0, /**< there is none; the pointer is not read */
  SQZ_MASK_BOOL = 1, /**< uint8_t: 0 excludes the element */
  SQZ_MASK_ADD = 2   /**< float: -inf excludes the element, another value is added to it, after scaling */
} sqz_mask_kind;

/** What softmax gives for a row of n elements that are all excluded. */
typedef enum SQZ_ENUM_INT {
  SQZ_MASKED_UNIFORM = 0, /**< 1/n each */
  SQZ_MASKED_ZERO = 1     /**< 0 each */
} sqz_fully_masked;

/** @name Library @{ */

/** Version of the library, "major.minor.patch". */
SQZ_API const char *sqz_version(void);

/** What went wrong in the last failing call on this thread, in English; "" if none failed. Valid until the next one. */
SQZ_API const char *sqz_error_message(void);

/** Name of the argument that message is about, such as "x"; "" if none failed. Valid as long as the message. */
SQZ_API const char *sqz_error_argument(void);

/** Whether an instruction set can be used. */
typedef enum SQZ_ENUM_INT {
  SQZ_ISA_NOT_COMPILED = 0, /**< left out of this build */
  SQZ_ISA_NOT_ON_CPU = 1,   /**< the processor or the operating system lacks it */
  SQZ_ISA_RUNNABLE = 2,
  SQZ_ISA_REFUSED = 3 /**< the operating system was asked for permission and refused it */
} sqz_isa_state;

/** Number of instruction sets that there are kernels for on this architecture, compiled or not. */
SQZ_API int32_t sqz_isa_count(void);

/** Name of one of them, best first, such as "avx2"; NULL for an index outside [0, sqz_isa_count()). */
SQZ_API const char *sqz_isa_name(int32_t index);

/** State of one instruction set; SQZ_ISA_NOT_COMPILED for an index out of range. */
SQZ_API sqz_isa_state sqz_isa_get_state(int32_t index);

/**
 * Name of the instruction set whose kernels run: the best, or that of sqz_force_isa() or of the environment variable
 * SQUEEZEOPS_ISA. NULL, with a message, if that variable names none that runs here.
 *
 * It need not have a kernel of its own for every function: for the others, the best one runs that needs no more than
 * this instruction set brings. For example, "avx512vnni" has kernels for int8 alone and runs the float functions of
 * "avx512". sqz_kernel_get_info() says which kernels are in use.
 *
 * Both functions, and the first call that needs it, ask the operating system for permission where the instruction set
 * needs that: "amx_int8", once per process. If it refuses, the next instruction set runs.
 */
SQZ_API const char *sqz_isa_chosen(void);

/**
 * Hold the whole process to the kernels of one instruction set.
 *
 * @param name  as of sqz_isa_name(); NULL returns to the default
 * @return SQZ_UNSUPPORTED if there is no such instruction set or it cannot run here; the choice in force stays
 */
SQZ_API sqz_status sqz_force_isa(const char *name);

/** One row of the table of kernels; the strings belong to the library. */
typedef struct {
  const char *op;     /**< such as "softmax" */
  const char *dtype;  /**< such as "f32" */
  const char *isa;    /**< as of sqz_isa_name() */
  const char *tile;   /**< what it works on at a time, for people to read */
  const char *symbol; /**< "softmax_f32_avx2" */
  int32_t in_use;     /**< 1 if it is the one that runs under sqz_isa_chosen(), else 0 */
} sqz_kernel_info;

/** Number of kernels in this build. */
SQZ_API int32_t sqz_kernel_count(void);

/**
 * Describe a kernel.
 *
 * @param index  in [0, sqz_kernel_count())
 * @param info   where the description goes
 */
SQZ_API sqz_status sqz_kernel_get_info(int32_t index, sqz_kernel_info *info);

/**
 * Set how many threads a call uses, the caller's included, for the whole process.
 *
 * @param n  1 to 256; or 0 for the default, which is the environment variable SQUEEZEOPS_NUM_THREADS or else what the
 *           affinity mask and the cgroup quota allow. A library built without threads has the default 1,
 *           and uses 1 unless there is an executor.
 * @return SQZ_UNSUPPORTED if that is the default and the environment variable is invalid
 */
SQZ_API sqz_status sqz_set_num_threads(int64_t n);

/** How many threads a call uses; -1, with a message, if SQUEEZEOPS_NUM_THREADS is invalid. */
SQZ_API int32_t sqz_get_num_threads(void);

/** What an executor runs: a share of a call's work. */
typedef void (*sqz_share_fn)(void *argument, int32_t index);

/**
 * An executor: calls share(argument, index) for each index in [0, count), in any order and on any threads, the calling
 * one included, at most once each. Returns when all these calls have returned. It may leave indices out, even all of
 * them: other shares, and the calling thread at the end, do their work. A share neither blocks nor calls the executor.
 */
typedef void (*sqz_execute_fn)(void *context, int32_t count, sqz_share_fn share, void *argument);

/**
 * Run the work of all calls on the caller's own threads, in place of the library's, for the whole process. No bit of
 * a result changes.
 *
 * A call makes at most as many shares as sqz_set_num_threads() says, and none if its work is too little. Calls on
 * several threads use the executor at once, and it may itself call functions of the library meanwhile, even on the same
 * thread. After fork(), the child needs an executor that works there: set another, or NULL, before anything else.
 *
 * Call this while no other thread is inside the library.
 *
 * @param execute  NULL: the library's own threads
 * @param context  passed to execute
 */
SQZ_API void sqz_set_executor(sqz_execute_fn execute, void *context);

/** Allocates `size` bytes, aligned as by malloc(); NULL if there are none. */
typedef void *(*sqz_allocate_fn)(void *context, size_t size);

/** Frees what the other function has returned, on any thread. */
typedef void (*sqz_release_fn)(void *context, void *memory);

/**
 * Where all memory of the library comes from, for the whole process: scratch, copies and models. The stacks of the
 * library's own threads, and what the C library allocates for itself, do not.
 *
 * What is allocated before is freed by the functions that it came from, so these must keep working, at the end of a
 * thread too: there the thread's scratch is freed. The functions are called on any thread, on several at once. Call
 * this while no other thread is inside the library.
 *
 * @param allocate  NULL, with release: malloc() and free()
 * @param release   as allocate
 * @param context   passed to both
 */
SQZ_API sqz_status sqz_set_allocator(sqz_allocate_fn allocate, sqz_release_fn release, void *context);

/**
 * Free the scratch memory of the calling thread, which is otherwise kept for its next call until the thread ends. A
 * library built without threads does not learn of the end of a thread: call this there before.
 */
SQZ_API void sqz_free_scratch(void);

/** @} */
/**
 * @name Operations on arrays
 *
 * Each takes a struct of arguments. Initialise it to zero, set `size` to the size of the struct and then what is
 * wanted: `sqz_gelu_args args = {sizeof args};`. What stays zero is not given; a number that stays zero is 0.
 *
 * An array may have any strides: what a kernel cannot read in place is copied. Ids and offsets are always copied before
 * they are checked, so another thread may write to them meanwhile. A wrong type is SQZ_TYPE, a wrong shape or value
 * SQZ_INVALID. The meaning of the arguments is that of the function of the same name in the Python package.
 *
 * The library accepts structs of other versions. Arguments beyond `size` are not given. Bytes of a larger struct that
 * this version does not know must be zero. A size that ends inside a pointer is refused, as is one without room for the
 * tokenizer that sqz_tokenizer_create() makes.
 * @{
 */

/** An array. One that is all zeros is not given. */
typedef struct {
  const char *type;        /**< what messages call its type, such as "float64"; NULL: the name of dtype */
  void *data;              /**< the first element: that with all indices 0 */
  sqz_dtype dtype;         /**< type of the elements */
  int32_t rank;            /**< number of axes, 0 to SQZ_MAX_RANK */
  const intptr_t *shape;   /**< (rank) */
  const intptr_t *strides; /**< (rank), in bytes, of any sign; NULL: C-contiguous */
  int32_t readonly;        /**< not 0: must not be written to */
} sqz_array;

/** The most axes of an array. */
enum { SQZ_MAX_RANK = 64 };

/*
 * The result of an operation is the array `out`: C-contiguous, aligned, writeable and of the right shape. If its dtype
 * is SQZ_NONE, its shape is memory to write to, with room for `rank` sizes (SQZ_MAX_RANK always suffices). Then the
 * call checks the other arguments, sets out's dtype, rank and sizes, and returns SQZ_NEEDS_OUT: allocate the memory,
 * set out.data and call again. The values of ids and weights are checked by the call that computes.
 */

/** Arguments of sqz_layer_norm(). */
typedef struct {
  size_t size;
  sqz_array x;        /**< float32 (..., C) */
  sqz_array weight;   /**< float32 (C); not given: 1 */
  sqz_array bias;     /**< float32 (C); not given: 0 */
  double eps;         /**< finite, >= 0 */
  sqz_array residual; /**< float32, of x's shape; not given: 0 */
  sqz_array out;      /**< float32, of x's shape; may be x */
} sqz_layer_norm_args;

/** Layer normalisation of the rows of x + residual. @param args  not NULL */
SQZ_API sqz_status sqz_layer_norm(sqz_layer_norm_args *args);

/** Arguments of sqz_rms_norm(). */
typedef struct {
  size_t size;
  sqz_array x;        /**< float32 (..., C) */
  sqz_array weight;   /**< float32 (C); not given: 1 */
  double eps;         /**< finite, >= 0 */
  sqz_array residual; /**< float32, of x's shape; not given: 0 */
  sqz_array out;      /**< float32, of x's shape; may be x */
} sqz_rms_norm_args;

/** Division of the rows of x + residual by their root mean squares. @param args  not NULL */
SQZ_API sqz_status sqz_rms_norm(sqz_rms_norm_args *args);

/** Arguments of sqz_l2_normalize(). */
typedef struct {
  size_t size;
  sqz_array x;   /**< float32 (..., C) */
  double eps;    /**< finite, >= 0 */
  sqz_array out; /**< float32, of x's shape; may be x */
} sqz_l2_normalize_args;

/** Division of each row by max(its Euclidean norm, eps). @param args  not NULL */
SQZ_API sqz_status sqz_l2_normalize(sqz_l2_normalize_args *args);

/** Arguments of sqz_softmax(). */
typedef struct {
  size_t size;
  sqz_array x;                   /**< float32 (..., C) */
  sqz_array mask;                /**< bool or float32, broadcast to x's shape; not given: none */
  double scale;                  /**< multiplies x */
  sqz_fully_masked fully_masked; /**< for rows with every element excluded */
  sqz_array out;                 /**< float32, of x's shape; may be x */
} sqz_softmax_args;

/** Softmax of each row of x * scale + mask. @param args  not NULL */
SQZ_API sqz_status sqz_softmax(sqz_softmax_args *args);

/** The formula of sqz_gelu(). */
typedef enum SQZ_ENUM_INT {
  SQZ_APPROXIMATE_NONE = 0, /**< as SQZ_ACT_GELU */
  SQZ_APPROXIMATE_TANH = 1  /**< as SQZ_ACT_GELU_TANH */
} sqz_approximate;

/** Arguments of sqz_gelu(). */
typedef struct {
  size_t size;
  sqz_array x;                 /**< float32, of any shape */
  sqz_approximate approximate; /**< the formula */
  sqz_array out;               /**< float32, of x's shape; may be x */
} sqz_gelu_args;

/** Gaussian error linear unit of each element. @param args  not NULL */
SQZ_API sqz_status sqz_gelu(sqz_gelu_args *args);

/** Arguments of sqz_tanh(). */
typedef struct {
  size_t size;
  sqz_array x;   /**< float32, of any shape */
  sqz_array out; /**< float32, of x's shape; may be x */
} sqz_tanh_args;

/** Hyperbolic tangent of each element. @param args  not NULL */
SQZ_API sqz_status sqz_tanh(sqz_tanh_args *args);

/** Arguments of sqz_mean_pool(). */
typedef struct {
  size_t size;
  sqz_array x;    /**< float32 (..., L, C) */
  sqz_array mask; /**< bool, broadcast to (..., L); not given: all rows are kept */
  sqz_array out;  /**< float32 (..., C) */
} sqz_mean_pool_args;

/** Mean of the rows of each sequence that the mask keeps. @param args  not NULL */
SQZ_API sqz_status sqz_mean_pool(sqz_mean_pool_args *args);

/** Arguments of sqz_embedding(). */
typedef struct {
  size_t size;
  sqz_array ids;   /**< int32 or int64, of any shape, each in [0, V) */
  sqz_array table; /**< float32 or float16 (V, C); or int8 (V, C + 4), see sqz_embedding_f32() */
  sqz_array out;   /**< float32 (ids' shape..., C) */
} sqz_embedding_args;

/** Rows of a table, as float32. @param args  not NULL */
SQZ_API sqz_status sqz_embedding(sqz_embedding_args *args);

/** Arguments of sqz_embedding_layer_norm(). */
typedef struct {
  size_t size;
  sqz_array ids;            /**< as of sqz_embedding(), and so on for the other two pairs; all ids of one shape */
  sqz_array table;          /**< the rows of all three tables have C channels */
  sqz_array position_ids;   /**< of ids' shape */
  sqz_array position_table; /**< what position_ids select from */
  sqz_array type_ids;       /**< of ids' shape */
  sqz_array type_table;     /**< what type_ids select from */
  sqz_array weight;         /**< float32 (C); not given: 1 */
  sqz_array bias;           /**< float32 (C); not given: 0 */
  double eps;               /**< finite, >= 0 */
  sqz_array out;            /**< float32 (ids' shape..., C) */
} sqz_embedding_layer_norm_args;

/** Layer normalisation of the sum of three embeddings. @param args  not NULL */
SQZ_API sqz_status sqz_embedding_layer_norm(sqz_embedding_layer_norm_args *args);

/** Arguments of sqz_attention(). */
typedef struct {
  size_t size;
  sqz_array q;                   /**< float32 (B, Lq, C); or (total_q, C) for a ragged batch */
  sqz_array k;                   /**< float32 (B, Lk, C); or (total_k, C) */
  sqz_array v;                   /**< float32, of k's shape */
  int64_t num_heads;             /**< a divisor of C */
  sqz_array cu_seqlens;          /**< int32 (B + 1): offsets of the sequences of a ragged batch in q, k and v */
  sqz_array cu_seqlens_q;        /**< int32 (B + 1): offsets in q, in place of cu_seqlens */
  sqz_array cu_seqlens_k;        /**< int32 (B + 1): offsets in k and v, in place of cu_seqlens */
  sqz_array mask;                /**< bool or float32, broadcast to (B, num_heads, Lq, Lk); or (total_k) */
  const double *scale;           /**< multiplies the scores; NULL: 1 / sqrt(C / num_heads) */
  sqz_fully_masked fully_masked; /**< for queries with every key excluded */
  sqz_array out;                 /**< float32, of q's shape; (B, Lq, C) or (total_q, C) for quantised rows */
  sqz_array q_scales;            /**< float32 (..., num_heads): q, k and v are quantised rows, uint8 (..., width) */
  sqz_array k_scales;            /**< likewise */
  sqz_array v_scales;            /**< likewise */
  sqz_array value_scale;         /**< float32 (C), with quantised rows alone: multiplies the result; not given: 1 */
  sqz_array value_bias;          /**< float32 (C), with quantised rows alone: added to that; not given: 0 */
} sqz_attention_args;

/** Multi-head attention, of a padded or of a ragged batch. @param args  not NULL */
SQZ_API sqz_status sqz_attention(sqz_attention_args *args);

/** Arguments of sqz_attention_scores(). */
typedef struct {
  size_t size;
  sqz_array q;         /**< float32 (B, Lq, C) */
  sqz_array k;         /**< float32 (B, Lk, C) */
  int64_t num_heads;   /**< a divisor of C */
  sqz_array mask;      /**< bool or float32, broadcast to (B, num_heads, Lq, Lk) */
  const double *scale; /**< NULL: 1 / sqrt(C / num_heads) */
  sqz_array out;       /**< float32 (B, num_heads, Lq, Lk) */
} sqz_attention_scores_args;

/** The scaled and masked scores of attention, before softmax. @param args  not NULL */
SQZ_API sqz_status sqz_attention_scores(sqz_attention_scores_args *args);

/** Arguments of sqz_pointwise_conv(). */
typedef struct {
  size_t size;
  sqz_array x;               /**< float32 (..., C_in) */
  sqz_array weight;          /**< float32 (C_out, C_in / groups) or (C_out, C_in / groups, 1) */
  sqz_array bias;            /**< float32 (C_out); not given: 0 */
  int64_t groups;            /**< a divisor of C_in and C_out */
  sqz_activation activation; /**< applied to conv(x) + bias */
  sqz_array residual;        /**< float32 (..., C_out), added last; not given: 0 */
  sqz_array out;             /**< float32 (..., C_out) */
} sqz_pointwise_conv_args;

/** Grouped pointwise convolution with a weight that is packed for this call alone. @param args  not NULL */
SQZ_API sqz_status sqz_pointwise_conv(sqz_pointwise_conv_args *args);

/** Arguments of sqz_pack_pointwise_conv(). */
typedef struct {
  size_t size;
  sqz_array weight;   /**< float32 or float16 (C_out, C_in / groups) or (C_out, C_in / groups, 1) */
  sqz_array bias;     /**< float32 (C_out); not given: none */
  int64_t groups;     /**< a divisor of C_out */
  sqz_dtype dtype;    /**< what the weight is stored in: SQZ_F32, SQZ_F16, SQZ_S8 or SQZ_S8_ROTATED */
  sqz_array packed;   /**< result: uint8 (bytes), at an address that is a multiple of 64 */
  sqz_array bias_out; /**< result: a copy of bias, if that is given */
} sqz_pack_pointwise_conv_args;

/** Pack a weight for sqz_run_pointwise_conv(). @param args  not NULL */
SQZ_API sqz_status sqz_pack_pointwise_conv(sqz_pack_pointwise_conv_args *args);

/** Arguments of sqz_use_packed_pointwise_conv(). */
typedef struct {
  size_t size;
  sqz_array packed;   /**< uint8 (bytes), from sqz_pack_pointwise_conv(), at a multiple of 64 */
  sqz_array bias;     /**< float32 (c_out); not given: none */
  int64_t c_in;       /**< input channels */
  int64_t c_out;      /**< output channels */
  int64_t groups;     /**< a divisor of both */
  sqz_dtype dtype;    /**< what the weight is stored in */
  sqz_array bias_out; /**< result: a copy of bias, if that is given */
} sqz_use_packed_pointwise_conv_args;

/** Check a packed weight, without a look at its values. @param args  not NULL */
SQZ_API sqz_status sqz_use_packed_pointwise_conv(sqz_use_packed_pointwise_conv_args *args);

/** Arguments of sqz_run_pointwise_conv(). The first six are the weight. */
typedef struct {
  size_t size;
  sqz_array packed;               /**< uint8 (bytes), from sqz_pack_pointwise_conv(), at a multiple of 64 */
  sqz_array bias;                 /**< float32 (c_out); not given: 0 */
  int64_t c_in;                   /**< input channels */
  int64_t c_out;                  /**< output channels */
  int64_t groups;                 /**< a divisor of both */
  sqz_dtype dtype;                /**< what the weight is stored in */
  sqz_array x;                    /**< float32 (..., c_in); or quantised rows: uint8 (..., width) */
  sqz_array x_scales;             /**< scales of quantised rows: float32 (..., groups); not given: x is float32 */
  sqz_activation activation;      /**< applied to conv(x) + bias */
  sqz_array residual;             /**< float32 (..., c_out), added last; not given: 0 */
  const int64_t *quantize_groups; /**< quantise the result with so many groups; NULL: do not */
  sqz_array out;                  /**< float32 (..., c_out); or uint8 (..., width), quantised */
  sqz_array out_scales;           /**< float32 (..., quantize_groups), with a quantised result alone */
  const int64_t *quantize_rotate; /**< 1: rotate a result that is quantised, for SQZ_S8_ROTATED; NULL: 0 */
} sqz_run_pointwise_conv_args;

/** Grouped pointwise convolution with a packed weight. @param args  not NULL */
SQZ_API sqz_status sqz_run_pointwise_conv(sqz_run_pointwise_conv_args *args);

/**
 * Several convolutions of one x in one parallel region; x is quantised once for all weights of int8 with equal groups.
 *
 * @param args   (count), all with the same x and x_scales; results do not overlap
 * @param count  >= 0
 */
SQZ_API sqz_status sqz_run_pointwise_convs(sqz_run_pointwise_conv_args *args, int64_t count);

/** Arguments of sqz_quantize_rows(). */
typedef struct {
  size_t size;
  sqz_array x;      /**< float32 (..., C) */
  int64_t groups;   /**< a divisor of C */
  sqz_array values; /**< result: uint8 (..., sqz_quantized_width_s8(C, groups)) */
  sqz_array scales; /**< result: float32 (..., groups) */
  /**
   * 1: first multiply each 128 successive channels by the Hadamard matrix of that size, for SQZ_S8_ROTATED. That
   * spreads an outlier over its block. C / groups is then a multiple of 128, at most 8192. NULL: 0.
   */
  const int64_t *rotate;
} sqz_quantize_rows_args;

/** Quantise rows to bytes, with a scale for each group of channels. @param args  not NULL */
SQZ_API sqz_status sqz_quantize_rows(sqz_quantize_rows_args *args);

/** What kind of field an argument of an operation is. */
typedef enum SQZ_ENUM_INT {
  SQZ_ARG_ARRAY = 0, /**< an sqz_array that is read */
  SQZ_ARG_OUT = 1,   /**< an sqz_array that is written */
  SQZ_ARG_INT = 2,   /**< an int64_t; if optional, a pointer to one, or NULL */
  SQZ_ARG_REAL = 3,  /**< a double; if optional, a pointer to one, or NULL */
  SQZ_ARG_WORD = 4   /**< an enumeration, as wide as an int32_t */
} sqz_argument_kind;

/** An argument of an operation. */
typedef struct {
  const char *name;         /**< of the field */
  sqz_argument_kind kind;   /**< of the field */
  int32_t optional;         /**< 1 if it need not be given, else 0 */
  size_t offset;            /**< of the field in the struct, in bytes */
  int32_t word_count;       /**< of an enumeration: number of its values */
  int32_t first_word;       /**< of an enumeration: the value of words[0]; the others follow */
  const char *const *words; /**< of an enumeration: names of its values; NULL in place of a name stands for "none" */
} sqz_argument;

/** An operation, described for those who call it from another language: one loop over the table serves all. */
typedef struct {
  const char *name;              /**< of the function, without "sqz_" */
  const char *label;             /**< what messages for a user call it */
  size_t size;                   /**< of the struct of its arguments */
  int32_t several;               /**< 1 if it takes any number of structs, else 0 */
  int32_t argument_count;        /**< number of its arguments */
  const sqz_argument *arguments; /**< in order of the fields */
  /** The function; count is 1 unless `several`. With `checked` not 0, checks may be left out: only for a call that was
   * made before and returned SQZ_NEEDS_OUT, when nothing but the data of results was set since. */
  sqz_status (*run)(void *args, int64_t count, int32_t checked);
} sqz_operation;

/** Number of operations. */
SQZ_API int32_t sqz_operation_count(void);

/** One of them. @param index  in [0, sqz_operation_count()) @return NULL for an index out of range */
SQZ_API const sqz_operation *sqz_operation_get(int32_t index);

/** @} */
/**
 * @name Text
 *
 * A tokenizer cuts texts into tokens, by BERT's normalisation and WordPiece. Ids and offsets are those of the class
 * Tokenizer of the Python package, whose documentation explains each setting. docs/format.md has the same settings and
 * the same vocabulary in a file.
 *
 * A text is UTF-8; what is not is refused. It must not change during a call. Time and memory grow with the length of a
 * text, whatever is in it: the time of a byte is bounded by the longest token.
 * @{
 */

/** A text. Initialise it to zero for none; then data need not be set where size is 0. */
typedef struct {
  const char *data; /**< UTF-8; needs no zero at the end, and may have zeros inside */
  int64_t size;     /**< in bytes, below 2^31 */
} sqz_text;

/** A tokenizer: a number that sqz_tokenizer_create() gives; never 0. After sqz_tokenizer_free() it is refused. */
typedef uint64_t sqz_tokenizer;

/** A token that is matched as a whole, before words are split. */
typedef struct {
  sqz_text content;    /**< of several tokens with the same content, the last one counts; "" is never matched */
  int32_t id;          /**< >= 0 */
  int32_t single_word; /**< not 0: matched only where no letter or digit touches it */
  int32_t lstrip;      /**< not 0: takes the spaces before it */
  int32_t rstrip;      /**< not 0: takes the spaces after it */
  int32_t normalized;  /**< not 0: its normalised form is matched in the normalised text; 0: matched in the text */
  int32_t special;     /**< not 0: not matched if split_special_tokens is set */
} sqz_added_token;

/** What stands in a template for the tokens of a text. */
enum { SQZ_FIRST_TEXT = -1, SQZ_SECOND_TEXT = -2 };

/** A part of a template. */
typedef struct {
  int32_t id;      /**< SQZ_FIRST_TEXT, SQZ_SECOND_TEXT, or the id of a special token */
  int32_t type_id; /**< the token type of this part, >= 0 */
} sqz_template_part;

/** Where a text loses tokens. */
typedef enum SQZ_ENUM_INT {
  SQZ_SIDE_RIGHT = 0, /**< at its end */
  SQZ_SIDE_LEFT = 1   /**< at its beginning */
} sqz_side;

/** Arguments of sqz_tokenizer_create(). All that they point to is copied. */
typedef struct {
  size_t size;
  const char *vocab_bytes;      /**< the tokens in UTF-8, one after the other, in ascending order of their bytes. Code
                                     points from U+D800 to U+DFFF, of three bytes, are accepted here. */
  const int32_t *vocab_offsets; /**< (vocab_size + 1), from 0: where each begins, and where the last one ends */
  const int32_t *vocab_ids;     /**< (vocab_size), the id of each, >= 0 */
  int64_t vocab_size;           /**< number of tokens */
  int32_t lowercase;            /**< not 0: lower-case */
  int32_t strip_accents;        /**< not 0: drop accents */
  int32_t handle_chinese_chars; /**< not 0: put spaces around ideographs */
  int32_t clean_text;           /**< not 0: drop control characters; any white space becomes a space */
  sqz_text unk_token;           /**< for words that have no pieces. If the vocabulary lacks it, they are an error. */
  sqz_text continuing_subword_prefix; /**< of the tokens inside words, such as "##" */
  int64_t max_input_chars_per_word;   /**< longer words become unk_token */
  int64_t added_count;                /**< number of added tokens */
  const sqz_added_token *added;       /**< (added_count) */
  int32_t split_special_tokens;       /**< not 0: special tokens in a text are split like its words */
  int64_t single_count;               /**< parts of the template for one text */
  const sqz_template_part *single;    /**< (single_count) */
  int64_t pair_count;                 /**< parts of the template for two texts */
  const sqz_template_part *pair;      /**< (pair_count) */
  int64_t max_length;                 /**< the default of sqz_tokenizer_encode_args; 0: none */
  sqz_side truncation_side;           /**< where texts are cut */
  sqz_tokenizer tokenizer;            /**< result */
} sqz_tokenizer_args;

/**
 * Make a tokenizer. Any number of threads may use it at once.
 *
 * @param args  not NULL
 * @return SQZ_NO_MEMORY if there is none for the copy and an index of the tokens
 */
SQZ_API sqz_status sqz_tokenizer_create(sqz_tokenizer_args *args);

/** Free a tokenizer. A call of another thread that uses it meanwhile ends as usual. @param tokenizer  0: does nothing
 */
SQZ_API sqz_status sqz_tokenizer_free(sqz_tokenizer tokenizer);

/** Whether a text that is too long is cut, and which one of a pair. */
typedef enum SQZ_ENUM_INT {
  SQZ_TRUNCATE_NONE = 0,
  SQZ_TRUNCATE_LONGEST_FIRST = 1, /**< a pair: the longer text, until both have the same length; then both */
  SQZ_TRUNCATE_ONLY_FIRST = 2,
  SQZ_TRUNCATE_ONLY_SECOND = 3
} sqz_truncation;

/** What offsets count. */
typedef enum SQZ_ENUM_INT {
  SQZ_UNIT_CODE_POINT = 0,
  SQZ_UNIT_BYTE = 1 /**< of UTF-8 */
} sqz_unit;

/** Arguments of sqz_tokenizer_encode(). The arrays are results; one that is not wanted is NULL. */
typedef struct {
  size_t size;
  sqz_tokenizer tokenizer;
  sqz_text text;                  /**< the text, or the first one of a pair */
  const sqz_text *pair;           /**< the second one; NULL: none */
  int32_t accept_surrogates;      /**< not 0: texts may have code points from U+D800 to U+DFFF, of three bytes each */
  int32_t without_special_tokens; /**< not 0: the texts' own tokens alone, in the order of the template */
  sqz_truncation truncation;      /**< which text is cut, if the tokens are more than max_length */
  int64_t max_length;             /**< special tokens included; 0: that of the tokenizer */
  sqz_unit offset_unit;           /**< what offsets count */
  int64_t capacity;   /**< tokens that each array has room for. As many as the texts have bytes and the template has
                           special tokens always suffice. */
  int32_t *ids;       /**< (capacity): ids of the tokens */
  int32_t *type_ids;  /**< (capacity): token types */
  int32_t *offsets;   /**< (capacity, 2): beginning and end of each token in its text; 0 and 0 for special tokens */
  int32_t *words;     /**< (capacity): number of each token's word in its text; -1 for special tokens */
  int32_t *sequences; /**< (capacity): 0 for the first text, 1 for the second, -1 for special tokens */
  int64_t count;      /**< result: number of tokens */
} sqz_tokenizer_encode_args;

/**
 * Cut a text, or a pair of texts, into tokens.
 *
 * @param args  not NULL
 * @return SQZ_NEEDS_OUT, and args->count, if capacity is too small: then nothing is written, and the call is to be made
 *         again with larger arrays. SQZ_NO_MEMORY if there is none for the normalised text and the tokens.
 */
SQZ_API sqz_status sqz_tokenizer_encode(sqz_tokenizer_encode_args *args);

/** @} */
/** @name Pointer-and-stride functions: of each row @{ */

/**
 * Layer normalisation: with s = x + residual, out = (s - mean(s)) / sqrt(var(s) + eps) * weight + bias for each row.
 *
 * @param rows, n   the shape of x, residual and out
 * @param x         (rows, n), row stride ldx
 * @param residual  (rows, n), row stride ldr; NULL for none
 * @param weight    (n); NULL for 1
 * @param bias      (n); NULL for 0
 * @param eps       finite, >= 0
 * @param out       (rows, n), row stride ldo; may be x
 */
SQZ_API sqz_status sqz_layer_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual,
                                      int64_t ldr, const float *weight, const float *bias, double eps, float *out,
                                      int64_t ldo);

/**
 * RMS normalisation: with s = x + residual, out = s / sqrt(mean(s * s) + eps) * weight for each row.
 *
 * @param rows, n   the shape of x, residual and out
 * @param x         (rows, n), row stride ldx
 * @param residual  (rows, n), row stride ldr; NULL for none
 * @param weight    (n); NULL for 1
 * @param eps       finite, >= 0
 * @param out       (rows, n), row stride ldo; may be x
 */
SQZ_API sqz_status sqz_rms_norm_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const float *residual,
                                    int64_t ldr, const float *weight, double eps, float *out, int64_t ldo);

/**
 * Division of each row by its Euclidean norm: out = x / max(sqrt(sum(x * x)), eps).
 *
 * @param rows, n  the shape of x and out
 * @param x        (rows, n), row stride ldx
 * @param eps      finite, >= 0
 * @param out      (rows, n), row stride ldo; may be x
 */
SQZ_API sqz_status sqz_l2_normalize_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, double eps, float *out,
                                        int64_t ldo);

/**
 * Softmax of each row: with s = x * scale + mask, out = exp(s - max(s)) / sum(exp(s - max(s))).
 *
 * An excluded element becomes 0, and its value, even NaN, has no influence on the others.
 *
 * @param rows, n       the shape of x and out
 * @param x             (rows, n), row stride ldx
 * @param mask          (rows, n), row stride mask_stride, of the type that mask_kind tells
 * @param mask_kind     SQZ_MASK_NONE: no mask
 * @param mask_stride   >= n, or 0 for one row of the mask for all
 * @param scale         multiplies x
 * @param fully_masked  for rows with every element excluded
 * @param out           (rows, n), row stride ldo; may be x
 */
SQZ_API sqz_status sqz_softmax_f32(int64_t rows, int64_t n, const float *x, int64_t ldx, const void *mask,
                                   sqz_mask_kind mask_kind, int64_t mask_stride, double scale,
                                   sqz_fully_masked fully_masked, float *out, int64_t ldo);

/**
 * out[i] = activation(x[i]).
 *
 * @param n    number of elements
 * @param x    (n)
 * @param out  (n); may be x
 */
SQZ_API sqz_status sqz_activation_f32(sqz_activation activation, int64_t n, const float *x, float *out);

/** @} */
/** @name Pooling @{ */

/**
 * Mean of the rows of each sequence that the mask keeps, added in order; zeros if it keeps none.
 *
 * @param batch, length, n  x is `batch` sequences of `length` rows of n
 * @param x                 (batch * length, n), row stride ldx
 * @param mask              (batch, length), row stride mask_stride; 0 excludes the row; NULL for none
 * @param mask_stride       >= length, or 0 for one mask for all sequences
 * @param out               (batch, n), row stride ldo
 */
SQZ_API sqz_status sqz_mean_pool_f32(int64_t batch, int64_t length, int64_t n, const float *x, int64_t ldx,
                                     const uint8_t *mask, int64_t mask_stride, float *out, int64_t ldo);

/** @} */
/** @name Embedding @{ */

/**
 * Gather rows of a table: out[i] = table[ids[i]], widened exactly.
 *
 * A row of a table of SQZ_S8 is n bytes, from -127 to 127, and the 4 of a float, wherever they lie: out = byte * float.
 *
 * @param count        number of ids
 * @param n            row length
 * @param ids          (count), each in [0, table_rows)
 * @param table        (table_rows, n), dense; for SQZ_S8 of n + 4 bytes per row
 * @param table_dtype  type of its elements
 * @param out          (count, n), row stride ldo
 */
SQZ_API sqz_status sqz_embedding_f32(int64_t count, int64_t n, const int64_t *ids, const void *table,
                                     sqz_dtype table_dtype, int64_t table_rows, float *out, int64_t ldo);

/**
 * Layer normalisation of the sum of three embeddings:
 * out[i] = layer_norm((tables[0][ids[0][i]] + tables[1][ids[1][i]]) + tables[2][ids[2][i]]).
 *
 * Messages call the ids "ids", "position_ids" and "type_ids", the tables "table", "position_table" and "type_table".
 *
 * @param count       number of ids
 * @param n           row length
 * @param ids         three arrays (count), each id in [0, table_rows[t])
 * @param tables      three tables (table_rows[t], n), dense, as for sqz_embedding_f32
 * @param dtypes      types of their elements
 * @param table_rows  their sizes
 * @param weight      (n); NULL for 1
 * @param bias        (n); NULL for 0
 * @param eps         finite, >= 0
 * @param out         (count, n), row stride ldo
 */
SQZ_API sqz_status sqz_embedding_layer_norm_f32(int64_t count, int64_t n, const int64_t *const ids[3],
                                                const void *const tables[3], const sqz_dtype dtypes[3],
                                                const int64_t table_rows[3], const float *weight, const float *bias,
                                                double eps, float *out, int64_t ldo);

/** @} */
/**
 * @name Grouped pointwise convolution
 *
 * A weight (c_out, c_in / groups) is packed once, into memory that the caller provides, and then used for any number of
 * calls, from any thread. Group g multiplies the columns [g * c_in / groups, (g + 1) * c_in / groups) of x and gives
 * the columns [g * c_out / groups, (g + 1) * c_out / groups) of the result.
 * @{
 */

/**
 * Number of floats in the packed form of a weight.
 *
 * @param groups  >= 1, a divisor of c_in and c_out
 * @param c_in    input channels, 0 to 2^28
 * @param c_out   output channels, 0 to 2^28
 * @return -1, with a message, for invalid sizes
 */
SQZ_API int64_t sqz_pwconv_packed_size_f32(int64_t groups, int64_t c_in, int64_t c_out);

/**
 * Pack a weight. The packed form is the same for every instruction set.
 *
 * @param groups, c_in, c_out  as of sqz_pwconv_packed_size_f32()
 * @param weight               (c_out, c_in / groups), dense; values below 2^-126 count as 0
 * @param weight_dtype         type of its elements
 * @param packed               sqz_pwconv_packed_size_f32(groups, c_in, c_out) floats
 */
SQZ_API sqz_status sqz_pwconv_pack_f32(int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                                       sqz_dtype weight_dtype, float *packed);

/**
 * out = activation(conv(x) + bias) + residual.
 *
 * @param rows                 rows of x, residual and out
 * @param groups, c_in, c_out  those of the packed weight
 * @param x                    (rows, c_in), row stride ldx
 * @param packed               from sqz_pwconv_pack_f32()
 * @param bias                 (c_out); NULL for none
 * @param activation           SQZ_ACT_NONE for none
 * @param residual             (rows, c_out), row stride ldr; NULL for none
 * @param out                  (rows, c_out), row stride ldo
 */
SQZ_API sqz_status sqz_pwconv_f32(int64_t rows, int64_t groups, int64_t c_in, int64_t c_out, const float *x,
                                  int64_t ldx, const float *packed, const float *bias, sqz_activation activation,
                                  const float *residual, int64_t ldr, float *out, int64_t ldo);

/**
 * Number of float16 elements in the packed form of a weight that is stored as float16.
 *
 * @param groups, c_in, c_out  as of sqz_pwconv_packed_size_f32()
 * @return -1, with a message, for invalid sizes
 */
SQZ_API int64_t sqz_pwconv_packed_size_f16(int64_t groups, int64_t c_in, int64_t c_out);

/**
 * Pack a weight as float16: half the memory. float32 is rounded to nearest, ties to even.
 *
 * @param groups, c_in, c_out  as of sqz_pwconv_packed_size_f32()
 * @param weight               (c_out, c_in / groups), dense; values below 2^-126 count as 0, finite ones above 65504 in
 *                             magnitude are an error
 * @param weight_dtype         type of its elements
 * @param packed               sqz_pwconv_packed_size_f16(groups, c_in, c_out) elements
 */
SQZ_API sqz_status sqz_pwconv_pack_f16(int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                                       sqz_dtype weight_dtype, uint16_t *packed);

/** @} */
/**
 * @name Grouped pointwise convolution in int8
 *
 * A channel's weights become bytes with a scale: with m the largest magnitude among them, scale = m / 127 and byte =
 * round(w * (127 / m)), to nearest, ties to even. So does what a group of input channels holds in a row. For m below
 * 2^-100 all are 0. NaN or infinity in a channel's weights makes the results of that channel NaN, and in a row those of
 * that row and group. Sums of products of bytes are exact, so all instruction sets, sse2 too, have the same bits; but
 * GELU and tanh after them are as exact as they are on floats.
 * @{
 */

/** Bytes of a row of quantised channels: each group is filled up to a multiple of 4; -1, with a message, for sizes that
 * sqz_quantize_rows_s8() refuses.
 *
 * @param channels  0 to 2^28
 * @param groups    >= 1, a divisor of channels
 */
SQZ_API int64_t sqz_quantized_width_s8(int64_t channels, int64_t groups);

/**
 * Quantise rows, with a scale for each group of channels of a row.
 *
 * The byte of a value is round(value * (127 / m)) + 128, which is 1 to 255. The bytes that fill up a group are 128.
 *
 * @param rows      rows of x, q and scales
 * @param channels  0 to 2^28
 * @param groups    >= 1, a divisor of channels: that of the convolution which will read the rows
 * @param x         (rows, channels), row stride ldx
 * @param q         (rows, sqz_quantized_width_s8(channels, groups)), row stride ldq
 * @param scales    (rows, groups), dense
 */
SQZ_API sqz_status sqz_quantize_rows_s8(int64_t rows, int64_t channels, int64_t groups, const float *x, int64_t ldx,
                                        uint8_t *q, int64_t ldq, float *scales);

/**
 * Number of bytes in the packed form of a weight, a multiple of 64.
 *
 * @param groups  >= 1, a divisor of c_in and c_out
 * @param c_in    input channels, 0 to 2^28, and at most 2^17 per group
 * @param c_out   output channels, 0 to 2^28
 * @return -1, with a message, for invalid sizes
 */
SQZ_API int64_t sqz_pwconv_packed_size_s8(int64_t groups, int64_t c_in, int64_t c_out);

/**
 * Quantise and pack a weight. The packed form is the same for every instruction set and can be kept in a file, of which
 * the byte order is that of the machine.
 *
 * @param groups, c_in, c_out  as of sqz_pwconv_packed_size_s8()
 * @param weight               (c_out, c_in / groups), dense; values below 2^-126 count as 0
 * @param weight_dtype         type of its elements
 * @param packed               sqz_pwconv_packed_size_s8(groups, c_in, c_out) bytes, aligned to 4; to 64 is fastest
 */
SQZ_API sqz_status sqz_pwconv_pack_s8(int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                                      sqz_dtype weight_dtype, void *packed);

/** @} */
/** @name Convolutions of one input, with weights of any type @{ */

/**
 * What sqz_pwconv() convolves: x; or, if q is not NULL, rows that are quantised already, and x is not used. Initialise
 * it to zero; then only what is wanted need be set.
 */
typedef struct {
  int64_t rows;        /**< rows of the input and of every residual and result */
  int64_t c_in;        /**< channels */
  const float *x;      /**< (rows, c_in), row stride ldx */
  int64_t ldx;         /**< elements */
  const uint8_t *q;    /**< from sqz_quantize_rows_s8(), row stride ldq. Bytes must be 1 to 255. 0 is not checked, and
                            its result depends on the ISA. */
  int64_t ldq;         /**< bytes */
  const float *scales; /**< (rows, groups), dense */
  int64_t groups;      /**< those that q was quantised in */
} sqz_pwconv_input;

/**
 * One of the convolutions of sqz_pwconv(). Initialise it to zero; then only what is wanted need be set. The result goes
 * to out; or, if q_out is not NULL, quantised to q_out and scales_out, and out is not used. Results lie apart from the
 * input and from what the other parts read and write.
 */
typedef struct {
  sqz_dtype dtype;           /**< that of the packed weight; int8 alone takes a quantised input, of its own groups */
  int64_t groups, c_out;     /**< those of the packed weight */
  const void *packed;        /**< from sqz_pwconv_pack_f32(), _f16() or _s8() */
  const float *bias;         /**< (c_out); NULL for none */
  sqz_activation activation; /**< SQZ_ACT_NONE for none */
  const float *residual;     /**< (rows, c_out), row stride ldr; NULL for none */
  int64_t ldr;               /**< elements */
  float *out;                /**< (rows, c_out), row stride ldo */
  int64_t ldo;               /**< elements */
  uint8_t *q_out;            /**< (rows, sqz_quantized_width_s8(c_out, groups_out)), row stride ldq_out; or NULL */
  int64_t ldq_out;           /**< bytes */
  float *scales_out;         /**< (rows, groups_out), dense */
  int64_t groups_out;        /**< groups of the convolution that will read q_out, or heads of the attention */
  int64_t rotate_out;        /**< 1: rotate the rows of q_out, for SQZ_S8_ROTATED; see sqz_quantize_rows_args */
} sqz_pwconv_part;

/**
 * Several convolutions of one input, such as those to queries, keys and values, or one: the threads share out all of
 * the work at once, and x is quantised once for all int8 weights with the same groups.
 *
 * Each is out = activation(conv(x) + bias) + residual. For float16 weights that is what sqz_pwconv_f32() gives with the
 * same weights as float32, to the bit. For int8, conv(x) = (sum of products of bytes * scale of the row's group) *
 * scale of the output channel, each rounded once; and q_out and scales_out are what sqz_quantize_rows_s8() makes of
 * out.
 *
 * @param input  not NULL
 * @param count  number of parts
 * @param parts  (count); messages begin with "parts[i]."
 * @return SQZ_NO_MEMORY if there is none for the quantised rows of x, or for a part of a result before it is quantised
 */
SQZ_API sqz_status sqz_pwconv(const sqz_pwconv_input *input, int64_t count, const sqz_pwconv_part *parts);

/** @} */
/** @name Attention @{ */

/**
 * Arguments of sqz_attention_f32(). Initialise it to zero; then only what is wanted need be set.
 *
 * Sequence b has the query rows [q_offsets[b], q_offsets[b + 1]) and the key rows [k_offsets[b], k_offsets[b + 1]).
 * Head h owns the columns [h * head_size, (h + 1) * head_size) of q, k, v and out, which have c = heads * head_size.
 */
typedef struct {
  int64_t batch;            /**< number of sequences */
  const int32_t *q_offsets; /**< (batch + 1), from 0, not decreasing; the last is the number of query rows */
  const int32_t *k_offsets; /**< (batch + 1), likewise for keys; may be q_offsets */
  int64_t heads;            /**< 0 to 2^24 */
  int64_t head_size;        /**< 0 to 2^24 */
  const float *q;           /**< (query rows, c), row stride ldq */
  int64_t ldq;
  const float *k; /**< (key rows, c), row stride ldk */
  int64_t ldk;
  const float *v; /**< (key rows, c), row stride ldv */
  int64_t ldv;
  /** Entry (b, h, query, key) is at b * mask_strides[0] + h * mask_strides[1] + query * mask_strides[2] + key; or, with
   * mask_ragged, at k_offsets[b] + key. Strides are >= 0; 0 repeats. */
  const void *mask;
  sqz_mask_kind mask_kind;       /**< SQZ_MASK_NONE: no mask */
  int64_t mask_strides[3];       /**< of sequence, head and query */
  int32_t mask_ragged;           /**< not 0: one entry per key row, for all heads and queries */
  double scale;                  /**< sqz_attention_scale(head_size) as a rule */
  sqz_fully_masked fully_masked; /**< for queries with every key excluded; of no keys at all, the result is 0 */
  float *out;                    /**< (query rows, c), row stride ldo */
  int64_t ldo;
  /** If not NULL, the scaled and masked scores before softmax go here, and v and out are not used: (heads, queries,
   * keys) for a sequence, dense, one sequence after the other. */
  float *scores;
} sqz_attention_f32_args;

/**
 * Multi-head attention: out = softmax(q k^T * scale + mask) v for each sequence and head.
 *
 * Neither the score nor the row of v of an excluded key has any influence, NaN included.
 *
 * @param args  not NULL
 * @return SQZ_NO_MEMORY if there is none for a copy of the offsets, or for the scores of a few queries against all
 *         keys of a sequence
 */
SQZ_API sqz_status sqz_attention_f32(const sqz_attention_f32_args *args);

/**
 * Arguments of sqz_attention_s8(). Initialise it to zero; then only what is wanted need be set.
 *
 * As sqz_attention_f32_args, but q, k and v are rows that sqz_quantize_rows_s8() or a convolution has quantised with
 * `heads` groups: head h owns the bytes [h * width, (h + 1) * width), where width is head_size rounded up to a multiple
 * of 4, and the scale at h.
 */
typedef struct {
  int64_t batch;            /**< number of sequences */
  const int32_t *q_offsets; /**< (batch + 1), from 0, not decreasing; the last is the number of query rows */
  const int32_t *k_offsets; /**< (batch + 1), likewise for keys, at most 2^16 per sequence; may be q_offsets */
  int64_t heads;            /**< 0 to 2^24 */
  int64_t head_size;        /**< 0 to 2^17 */
  const uint8_t *q;         /**< (query rows, heads * width), row stride ldq */
  int64_t ldq;
  const float *q_scales; /**< (query rows, heads), dense */
  const uint8_t *k;      /**< (key rows, heads * width), row stride ldk */
  int64_t ldk;
  const float *k_scales; /**< (key rows, heads), dense */
  const uint8_t *v;      /**< (key rows, heads * width), row stride ldv */
  int64_t ldv;
  const float *v_scales; /**< (key rows, heads), dense */
  /** 0 excludes a key for all queries; NULL: no mask. The entry of (b, h, key) is at b * mask_strides[0] +
   * h * mask_strides[1] + key; or, with mask_ragged, at k_offsets[b] + key. Strides are >= 0; 0 repeats. */
  const uint8_t *mask;
  int64_t mask_strides[2];       /**< of sequence and head */
  int32_t mask_ragged;           /**< not 0: one entry per key row, for all heads */
  double scale;                  /**< sqz_attention_scale(head_size) as a rule */
  sqz_fully_masked fully_masked; /**< for queries with every key excluded; of no keys at all, the result is 0 */
  const float *value_scale;      /**< (heads * head_size), multiplies the result; NULL: 1 */
  const float *value_bias;       /**< (heads * head_size), added to that; NULL: 0 */
  float *out;                    /**< (query rows, heads * head_size), row stride ldo */
  int64_t ldo;
} sqz_attention_s8_args;

/**
 * Multi-head attention of quantised rows: out = softmax(q k^T * scale) v * value_scale + value_bias, with exact sums of
 * products of bytes and probabilities that are rounded to a byte.
 *
 * @param args  not NULL
 * @return as sqz_attention_f32()
 */
SQZ_API sqz_status sqz_attention_s8(const sqz_attention_s8_args *args);

/** 1 / sqrt(head_size), as a float; 1 for head_size < 1. */
SQZ_API double sqz_attention_scale(int64_t head_size);

/** @} */
/**
 * @name Models
 *
 * A model in one file, as `squeezeops convert` writes it, and its forward pass: from ids of tokens to hidden states,
 * logits and embeddings. Results have the bits of the Python package.
 *
 * A model is a number, so that one that was closed is refused. Any number of threads may run one model at a time, and
 * close it meanwhile: it ends with the last run.
 *
 * Everything in a file is checked but the values of weights. Messages name the key or the tensor:
 * "classifier.bias: expected ..., got ...".
 * @{
 */

/** An open model; 0 is none. */
typedef uint64_t sqz_model;

/**
 * Open a converted model.
 *
 * The file is mapped, and its weights are used where they are. Replace a file that may be in use by renaming another
 * one over it.
 *
 * @param path   of the file
 * @param task   "base", "masked-lm", "text-classification", "multiple-choice", "token-classification" or
 *               "question-answering"; NULL: the one that the file was converted for
 * @param model  the result; left as it is by an error
 */
SQZ_API sqz_status sqz_model_open(const char *path, const char *task, sqz_model *model);

/**
 * Open a converted model in memory.
 *
 * @param data   the bytes of the file, at an address that is a multiple of 64. They are used in place, so they must
 *               stay as they are until the model is closed and no run of it is in progress.
 * @param size   their number
 * @param task   as of sqz_model_open()
 * @param model  the result; left as it is by an error
 */
SQZ_API sqz_status sqz_model_open_memory(const void *data, size_t size, const char *task, sqz_model *model);

/** A tensor of a model, by the name and with the layout that it has in a converted file. */
typedef struct {
  const char *name; /**< such as "classifier.bias" or "classifier.packed" */
  sqz_dtype
      dtype;    /**< of vectors, tables and packed weights SQZ_F32, SQZ_F16, SQZ_S8 (int8_rotated) or SQZ_U8 (int8) */
  int32_t rank; /**< 1 or 2 */
  int64_t shape[2]; /**< the sizes */
  const void *data; /**< the elements, dense; of a packed weight at an address that is a multiple of 64 */
} sqz_model_tensor;

/**
 * Make a model of tensors in memory, for programs that load them otherwise.
 *
 * @param config     the text of config.json
 * @param attention  its arithmetic: "float32" or "int8"
 * @param task       as of sqz_model_open(), not NULL
 * @param count      number of tensors
 * @param tensors    (count). They are used in place, so they must stay as they are until the model is closed and no run
 *                   of it is in progress.
 * @param model      the result; left as it is by an error
 */
SQZ_API sqz_status sqz_model_open_tensors(const char *config, const char *attention, const char *task, int64_t count,
                                          const sqz_model_tensor *tensors, sqz_model *model);

/** Close a model. @param model  an open one */
SQZ_API sqz_status sqz_model_close(sqz_model model);

/** What a model is. Strings belong to the library and stay valid. Set `size` to the size of the struct. */
typedef struct {
  size_t size;
  const char *task;         /**< as of sqz_model_open() */
  const char *model_type;   /**< "squeezebert", "bert" or "distilbert" */
  const char *dtype;        /**< of the weights: "float32", "float16" or "int8"; "" if made of tensors */
  const char *attention;    /**< its arithmetic: "float32" or "int8" */
  const char *problem_type; /**< "regression", "single_label_classification", "multi_label_classification" or NULL */
  int32_t format;           /**< version of the file's format; 0: made of tensors */
  int32_t normalize;        /**< 1 if an embedding is divided by its norm, else 0 */
  int64_t vocab_size;       /**< ids are below it */
  int64_t types;            /**< token types are below it */
  int64_t max_tokens;       /**< of a sequence */
  int64_t hidden_size;      /**< channels of a hidden state, C */
  int64_t layers;
  int64_t labels;           /**< names of classes, see sqz_model_label() */
  int64_t pooled_size;      /**< channels of a pooled output: C, or 0 if the model has none */
  int64_t logits_size;      /**< logits of a token or of a sequence; 0 for the task "base" */
  int64_t logits_per_token; /**< 1 if logits belong to tokens, 0 if to sequences */
  int64_t embedding_size;   /**< channels of an embedding: C times the number of poolings */
} sqz_model_info;

/** Describe a model. @param model  an open one @param info  where the description goes; zero but for its size */
SQZ_API sqz_status sqz_model_get_info(sqz_model model, sqz_model_info *info);

/**
 * Name of a class, in UTF-8.
 *
 * @param model   an open one
 * @param index   from 0 to the number of labels - 1
 * @param room    where the name goes, and a NUL
 * @param size    of room in bytes
 * @return the length of the name without the NUL, also if room is too small for it and holds its beginning; -1, with a
 *         message, for an error
 */
SQZ_API int64_t sqz_model_label(sqz_model model, int64_t index, char *room, size_t size);

/**
 * Bytes of the workspace of a run.
 *
 * @param model    an open one
 * @param tokens   at most so many in all
 * @param batch    at most so many sequences
 * @param longest  at most so many tokens in a sequence
 * @return -1, with a message, for an error
 */
SQZ_API int64_t sqz_model_workspace_size(sqz_model model, int64_t tokens, int64_t batch, int64_t longest);

/**
 * Arguments of sqz_model_run().
 *
 * Sequence b has the tokens [offsets[b], offsets[b + 1]) of all arrays of tokens. T is their number in all, C the
 * hidden size. Results that are NULL are not computed. `logits_mask` must not change during the run: its bytes that are
 * not 0 say how many logits are written.
 *
 * Tokens after the last one of a sequence that `mask` keeps are padding: nothing is computed for them, and their
 * results are zero. Other tokens with mask 0 are computed, but not attended to. A sequence without any token to attend
 * to attends to all of them equally.
 */
typedef struct {
  size_t size;
  sqz_model model;
  int64_t batch;              /**< number of sequences */
  int64_t length;             /**< tokens of each, if offsets is NULL */
  const int32_t *offsets;     /**< (batch + 1), from 0, ascending: sequences of any lengths; or NULL */
  const int64_t *ids;         /**< (T), each in [0, vocab_size) */
  const int64_t *type_ids;    /**< (T), each in [0, types); NULL: 0 */
  const uint8_t *mask;        /**< (T), 0: do not attend to the token; NULL: attend to all */
  const uint8_t *logits_mask; /**< (T), for logits of tokens: not 0 for those that are wanted, N; NULL: all */
  int64_t unpooled;           /**< so many tokens at the beginning of each sequence have no part in its embedding */
  float *hidden;              /**< result: (T, C), the last hidden states */
  float *all_hidden;          /**< result: (layers + 1, T, C), the embeddings of the tokens and what each layer gives */
  float *pooled;              /**< result: (batch, C), the pooler's output */
  float *logits;              /**< result: (batch, L) or (T, L); with a logits_mask (N, L) */
  float *embeddings;          /**< result: (batch, embedding_size), one vector per sequence */
  void *workspace;            /**< NULL: the library's own memory, which the model keeps for the next run */
  size_t workspace_size;      /**< bytes, at least sqz_model_workspace_size() */
} sqz_model_run_args;

/**
 * Run a model.
 *
 * With a workspace the run allocates nothing but scratch memory of kernels, which each thread keeps for its next call.
 *
 * @param args  not NULL
 * @return SQZ_NO_MEMORY also after a part of the results was written
 */
SQZ_API sqz_status sqz_model_run(sqz_model_run_args *args);

/**
 * The tokenizer of a model, made of what its file has when it is first asked for.
 *
 * Of files of version 1, those with a vocab.txt have one here, unless they have further files for added tokens. Others
 * must be converted anew.
 *
 * @param model      an open one
 * @param tokenizer  the result. It belongs to the model and is freed with it: do not free it.
 */
SQZ_API sqz_status sqz_model_tokenizer(sqz_model model, sqz_tokenizer *tokenizer);

/** Arguments of sqz_model_classify(). */
typedef struct {
  size_t size;
  sqz_model model;      /**< of the task "text-classification" */
  sqz_text text;        /**< not blank */
  const sqz_text *pair; /**< the second text, for models of pairs; NULL: none */
  int32_t truncate;     /**< not 0: texts that are too long are cut, the longer one first; 0: they are an error */
  float *logits;        /**< result: (labels); NULL: not wanted */
  float *scores;        /**< result: (labels), of each class; NULL: not wanted */
  int64_t label;        /**< result: the class with the highest score */
  double score;         /**< result: its score */
  int64_t tokens;       /**< result: their number, those of the template included */
} sqz_model_classify_args;

/**
 * Classify a text, or a pair of texts.
 *
 * Scores are the softmax of the logits; their sigmoid for a model of one label or of several at a time; the logits for
 * a regression.
 *
 * @param args  not NULL
 */
SQZ_API sqz_status sqz_model_classify(sqz_model_classify_args *args);

/** @} */
#ifdef __cplusplus
}
#endif

#endif /* SQUEEZEOPS_SQUEEZEOPS_H_ */
