#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/s8_vnni256.h"

namespace sqz {

extern const pwconv_s8_fn pwconv_s8_avxvnni = ConvolveS8<S8Vnni256>::run;

}  // namespace sqz
