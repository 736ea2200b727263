#include "kernels/peak/peak_s8.inl"
#include "simd/s8_vnni512.h"

namespace sqz {

extern const PeakLoopS8 peak_s8_avx512vnni = PeakS8<S8Vnni512, 12>::loop();

}  // namespace sqz
