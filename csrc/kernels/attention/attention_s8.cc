#include "kernels/attention/attention_s8.inl"
#include "kernels/target.h"

namespace sqz {

using Tuning = AttentionS8Tuning<Bytes>;
SQZ_KERNEL(attention_s8, AttentionS8<Bytes>::run,
           tile_of(Tuning::Scores::kTileRows, 16 * Tuning::Scores::kTilePanels, Tuning::Values::kTileRows,
                   16 * Tuning::Values::kTilePanels));

}  // namespace sqz
