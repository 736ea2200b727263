#include "kernels/peak/peak_f32.inl"
#include "simd/f32_avx512.h"

namespace sqz {

extern const PeakLoops peak_f32_avx512 = Peak<F32Avx512, 12>::loops();

}  // namespace sqz
