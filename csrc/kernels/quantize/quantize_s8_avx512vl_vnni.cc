#include "kernels/quantize/quantize_s8.inl"
#include "simd/s8_vnni256.h"

namespace sqz {

extern const quantize_rows_s8_fn quantize_rows_s8_avx512vl_vnni = Quantize<S8Vnni256>::run;

}  // namespace sqz
