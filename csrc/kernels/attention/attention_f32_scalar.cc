#include "kernels/attention/attention_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const attention_f32_fn attention_f32_scalar = Attention<F32Scalar, 8, 1, 1, 1, 1>::run;

}  // namespace sqz
