#include "kernels/activation/activation_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const activation_f32_fn activation_f32_scalar = Activation<F32Scalar>::run;

}  // namespace sqz
