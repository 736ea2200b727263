#include "isa/target.h"
#include "kernels/pwconv/pwconv_s8_staged.inl"

namespace sqz {

SQZ_KERNEL(pwconv_s8, ConvolveS8Dotprod::run, tile_of(MultiplyS8DotprodStaged::kTileRows, 16));

}  // namespace sqz
