// Scaled dot-product attention of one head of one sequence.
#ifndef SQZ_KERNELS_ATTENTION_ATTENTION_H_
#define SQZ_KERNELS_ATTENTION_ATTENTION_H_

#include <stdint.h>

#include "simd/common.h"
#include "squeezeops/squeezeops.h"

namespace sqz {

constexpr int kAttentionMaxRows = 24;  // the most query rows of a block, on any ISA

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

}  // namespace sqz

#endif  // SQZ_KERNELS_ATTENTION_ATTENTION_H_
