#include "kernels/peak/peak_f32.inl"
#include "simd/f32_neon.h"

namespace sqz {

extern const PeakLoops peak_f32_neon = Peak<F32Neon, F32Neon::kPeakChains>::loops();

}  // namespace sqz
