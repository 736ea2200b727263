#include "isa/target.h"
#include "kernels/pwconv/pwconv_s8_staged.inl"

namespace sqz {

using ConvolveS8I8mm = ConvolveStaged<MultiplyS8I8mm, ConvolveS8Dotprod>;
SQZ_KERNEL(pwconv_s8, ConvolveS8I8mm::run, tile_of(MultiplyS8I8mm::kTileRows, 16));

}  // namespace sqz
