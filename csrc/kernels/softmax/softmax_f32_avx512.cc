#include "kernels/softmax/softmax_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const softmax_f32_fn softmax_f32_avx512 = Softmax<F32Avx512>::run;

}  // namespace sqz
