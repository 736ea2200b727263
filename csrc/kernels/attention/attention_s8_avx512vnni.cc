#include "kernels/attention/attention_s8.inl"
#include "kernels/target.h"

namespace sqz {
namespace {

// The products of the head, if it has some: those of amx_int8.
struct Blocks {
  using Own = AttentionS8<Bytes>;

  static SQZ_INLINE int64_t block_rows(const AttentionHeadS8 &h, int64_t left) {
    return h.products ? h.products->block_rows(left) : Own::block_rows(h, left);
  }
  static SQZ_INLINE void score_block(const AttentionHeadS8 &h, const Own::Scratch &s, int64_t row, int rows) {
    h.products ? h.products->scores(h, row, rows) : Own::score_block(h, s, row, rows);
  }
  static SQZ_INLINE void value_block(const AttentionHeadS8 &h, const Own::Scratch &s, int64_t row, int rows,
                                     const float *factors) {
    h.products ? h.products->values(h, row, rows, factors) : Own::value_block(h, s, row, rows, factors);
  }
};

}  // namespace

using Tuning = AttentionS8Tuning<Bytes>;
SQZ_KERNEL(attention_s8, AttentionS8<Bytes>::run_blocks<Blocks>,
           tile_of(Tuning::Scores::kTileRows, 16 * Tuning::Scores::kTilePanels, Tuning::Values::kTileRows,
                   16 * Tuning::Values::kTilePanels));

}  // namespace sqz
