#include "kernels/activation/activation_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const activation_f32_fn activation_f32_avx512 = Activation<F32Avx512>::run;

}  // namespace sqz
