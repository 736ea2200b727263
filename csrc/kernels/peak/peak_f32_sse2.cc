#include "kernels/peak/peak_f32.inl"
#include "simd/f32_sse2.h"

namespace sqz {

extern const PeakLoops peak_f32_sse2 = Peak<F32Sse2, 3>::loops();

}  // namespace sqz
