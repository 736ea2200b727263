#include "kernels/peak/peak_s8.inl"
#include "simd/s8_scalar.h"

namespace sqz {

extern const PeakLoopS8 peak_s8_scalar = PeakS8<S8Scalar, 1>::loop();

}  // namespace sqz
