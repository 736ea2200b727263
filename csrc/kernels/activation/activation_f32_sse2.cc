#include "kernels/activation/activation_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const activation_f32_fn activation_f32_sse2 = Activation<F32Sse2>::run;

}  // namespace sqz
