#include "kernels/peak/peak_f32.inl"
#include "simd/f32_avx2.h"

namespace sqz {

extern const PeakLoops peak_f32_avx2 = Peak<F32Avx2, 6>::loops();

}  // namespace sqz
