#include "kernels/peak/peak_s8.inl"
#include "simd/s8_vnni256.h"

namespace sqz {

extern const PeakLoopS8 peak_s8_avx512vl_vnni = PeakS8<S8Vnni256, 6>::loop();

}  // namespace sqz
