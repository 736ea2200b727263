#include "kernels/peak/peak_s8.inl"
#include "simd/s8_avx2.h"

namespace sqz {

extern const PeakLoopS8 peak_s8_avx2 = PeakS8<S8Avx2, 4>::loop();

}  // namespace sqz
