#include "kernels/softmax/softmax_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const softmax_f32_fn softmax_f32_sse2 = Softmax<F32Sse2>::run;

}  // namespace sqz
