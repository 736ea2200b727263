// Scaled dot-product attention of one head of one sequence.
#ifndef SQZ_KERNELS_ATTENTION_ATTENTION_H_
#define SQZ_KERNELS_ATTENTION_ATTENTION_H_

#include <stdint.h>

#include "simd/common.h"
#include "squeezeops/squeezeops.h"

namespace sqz {

// The most query rows of a block, on any ISA.
constexpr int kAttentionMaxRows = 24, kAttentionS8MaxRows = 32;

struct AttentionHead {
  int64_t queries, keys, head_size;
  const float *q;
  int64_t ldq;
  const float *k;
  int64_t ldk;
  const float *v;
  int64_t ldv;
  const void *mask;
  sqz_mask_kind mask_kind;
  int64_t mask_stride;  // elements between the mask's rows
  float scale;
  sqz_fully_masked fully_masked;
  float *out;
  int64_t ldo;
  float *scores;   // (queries, keys), or null; else the masked scores go there and nothing more is computed
  float *scratch;  // scratch_size() floats, 64-byte aligned

  static SQZ_INLINE int64_t key_columns(int64_t keys) { return (keys + 15) / 16 * 16; }
  // K packed as [keys/16][head_size][16]; a block of score rows, padded so that they do not share L1 sets; and the
  // columns behind the last whole panel of V.
  static SQZ_INLINE int64_t scratch_size(int64_t keys, int64_t head_size) {
    return key_columns(keys) * head_size + kAttentionMaxRows * (key_columns(keys) + 16) +
           (head_size % 16 ? keys * 16 : 0);
  }
};

using attention_f32_fn = void (*)(const AttentionHead &head);

struct AttentionProductsS8;

// The same of quantised rows (see QuantizeRows), whose groups are the heads. attention_s8.inl has the arithmetic.
struct AttentionHeadS8 {
  int64_t queries, keys, head_size;
  const uint8_t *q;  // of this head, as all that follows
  int64_t ldq;
  const uint8_t *k;
  int64_t ldk;
  const uint8_t *v;
  int64_t ldv;
  const float *q_scales, *k_scales, *v_scales;
  int64_t lds;          // between scales of successive rows
  const uint8_t *mask;  // of the keys, 0 excludes; may be null
  float factor;         // the scale of scores, times log2(e)
  sqz_fully_masked fully_masked;
  const float *value_scale, *value_bias;  // (head_size); may be null: 1 and 0
  float *out;
  int64_t ldo;
  char *scratch;                        // scratch_size() bytes, 64-byte aligned
  const AttentionProductsS8 *products;  // null: the kernel's own

  static SQZ_INLINE int64_t key_columns(int64_t keys) { return (keys + 15) / 16 * 16; }
  static SQZ_INLINE int64_t k_panel(int64_t head_size) { return 128 + (head_size + 3) / 4 * 64; }  // as PackedS8
  static SQZ_INLINE int64_t v_panel(int64_t keys) { return 128 + key_columns(keys) * 16; }
  // Row strides of the scores (floats) and of the probabilities (bytes): room for 64 keys at a time. They are odd
  // multiples of a cache line, or rows would share L1 sets.
  static SQZ_INLINE int64_t lds_scores(int64_t keys) { return (keys + 63) / 64 * 64 + 16; }
  static SQZ_INLINE int64_t ldp(int64_t keys) { return (keys + 127) / 128 * 128 + 64; }
  // K in panels of 16 keys; V in panels of 16 channels; the logarithms of the keys' scales and their inverses; scores
  // and probabilities of a block of queries.
  static SQZ_INLINE int64_t scratch_size(int64_t keys, int64_t head_size) {
    const int64_t columns = key_columns(keys);
    return columns / 16 * k_panel(head_size) + (head_size + 15) / 16 * v_panel(keys) + 2 * 4 * columns +
           kAttentionS8MaxRows * (4 * lds_scores(keys) + ldp(keys));
  }
};

using attention_s8_fn = void (*)(const AttentionHeadS8 &head);

// The products of an ISA that leaves all else to the kernel of another one, which then calls these: for a block of
// `rows` queries from `row` on. The scratch holds what they read; scores go there, results to `out`.
struct AttentionProductsS8 {
  int64_t (*block_rows)(int64_t left);  // of the queries left
  void (*scores)(const AttentionHeadS8 &head, int64_t row, int rows);
  void (*values)(const AttentionHeadS8 &head, int64_t row, int rows, const float *factors);
};

}  // namespace sqz

#endif  // SQZ_KERNELS_ATTENTION_ATTENTION_H_
