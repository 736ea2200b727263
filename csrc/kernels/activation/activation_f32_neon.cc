#include "kernels/activation/activation_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const activation_f32_fn activation_f32_neon = Activation<F32Neon>::run;

}  // namespace sqz
