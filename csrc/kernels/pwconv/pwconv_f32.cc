#include "kernels/pwconv/pwconv_float.inl"

#include "isa/target.h"

namespace sqz {

using PwconvTile = FloatTile<Floats, float>;
SQZ_KERNEL(pwconv_f32, Convolve<PwconvTile>::run, tile_of(PwconvTile::kTileRows, 16 * PwconvTile::kTilePanels));

}  // namespace sqz
