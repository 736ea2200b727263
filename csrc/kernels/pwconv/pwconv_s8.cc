#include "kernels/pwconv/pwconv_s8.inl"

#include "isa/target.h"

namespace sqz {

SQZ_KERNEL(pwconv_s8, ConvolveS8<Bytes>::run, tile_of(S8Tile<Bytes>::kTileRows, 16 * S8Tile<Bytes>::kTilePanels));

}  // namespace sqz
