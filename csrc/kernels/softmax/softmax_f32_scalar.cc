#include "kernels/softmax/softmax_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const softmax_f32_fn softmax_f32_scalar = Softmax<F32Scalar>::run;

}  // namespace sqz
