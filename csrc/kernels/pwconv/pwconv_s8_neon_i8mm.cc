#include "kernels/pwconv/pwconv_s8_staged.inl"

namespace sqz {

extern const pwconv_s8_fn pwconv_s8_neon_i8mm = ConvolveStaged<MultiplyS8I8mm, ConvolveS8Dotprod>::run;

}  // namespace sqz
