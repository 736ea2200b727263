#include "kernels/peak/peak_f32.inl"
#include "simd/f32_scalar.h"

namespace sqz {

extern const PeakLoops peak_f32_scalar = Peak<F32Scalar, 1>::loops();

}  // namespace sqz
