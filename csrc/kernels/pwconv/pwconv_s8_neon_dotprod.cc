#include "kernels/pwconv/pwconv_s8_staged.inl"
#include "kernels/target.h"

namespace sqz {

SQZ_KERNEL(pwconv_s8, ConvolveS8Dotprod::run, tile_of(MultiplyS8DotprodStaged::kTileRows, 16));

}  // namespace sqz
