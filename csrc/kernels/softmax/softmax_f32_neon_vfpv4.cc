#include "kernels/softmax/softmax_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const softmax_f32_fn softmax_f32_neon_vfpv4 = Softmax<F32Neon>::run;

}  // namespace sqz
