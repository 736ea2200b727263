#include "kernels/softmax/softmax_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const softmax_f32_fn softmax_f32_avx2 = Softmax<F32Avx2>::run;

}  // namespace sqz
