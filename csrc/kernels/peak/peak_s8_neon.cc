#include "kernels/peak/peak_s8_neon.inl"

namespace sqz {

extern const PeakLoopS8 peak_s8_neon = PeakS8<PeakNeon, PeakNeon::kChains>::loop();

}  // namespace sqz
