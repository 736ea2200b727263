#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/microkernel_s8_neon.inl"

namespace sqz {

extern const pwconv_s8_fn pwconv_s8_neon_vfpv4 = ConvolveS8<S8Neon, MultiplyS8Neon>::run;

}  // namespace sqz
