#include "kernels/pwconv/pwconv_float.inl"
#include "kernels/target.h"

namespace sqz {

using PwconvTile = ConvolveF16<Floats>::Tile;
SQZ_KERNEL(pwconv_f16, ConvolveF16<Floats>::run, tile_of(PwconvTile::kTileRows, 16 * PwconvTile::kTilePanels));

}  // namespace sqz
