#include "kernels/pwconv/pwconv_s8.inl"
#include "simd/s8_avx2.h"

namespace sqz {

extern const pwconv_s8_fn pwconv_s8_avx2 = ConvolveS8<S8Avx2>::run;

}  // namespace sqz
