#include "kernels/pwconv/pwconv_float.inl"

#include "isa/target.h"

namespace sqz {

using PwconvTile = FloatTile<Floats, uint16_t>;
SQZ_KERNEL(pwconv_f16, Convolve<PwconvTile>::run, tile_of(PwconvTile::kTileRows, 16 * PwconvTile::kTilePanels));

}  // namespace sqz
