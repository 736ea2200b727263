#include "kernels/activation/activation_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const activation_f32_fn activation_f32_avx2 = Activation<F32Avx2>::run;

}  // namespace sqz
