#include "kernels/quantize/quantize_s8.inl"
#include "simd/s8_avx2.h"

namespace sqz {

extern const quantize_rows_s8_fn quantize_rows_s8_avx2 = Quantize<S8Avx2>::run;

}  // namespace sqz
