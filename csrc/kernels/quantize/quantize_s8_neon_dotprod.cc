#include "kernels/quantize/quantize_s8.inl"
#include "simd/s8_neon.h"

namespace sqz {

extern const quantize_rows_s8_fn quantize_rows_s8_neon_dotprod = Quantize<S8Neon>::run;

}  // namespace sqz
