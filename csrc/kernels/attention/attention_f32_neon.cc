#include "kernels/attention/attention_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const attention_f32_fn attention_f32_neon =
    Attention<F32Neon, 16, F32Neon::kTileRows, 1, F32Neon::kTileRows, 1>::run;

}  // namespace sqz
