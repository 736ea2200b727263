#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/s8_vnni512.h"

namespace sqz {

extern const pwconv_s8_fn pwconv_s8_avx512vnni = ConvolveS8<S8Vnni512>::run;

}  // namespace sqz
