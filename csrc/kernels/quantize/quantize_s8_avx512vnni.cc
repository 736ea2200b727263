#include "kernels/quantize/quantize_s8.inl"
#include "simd/s8_vnni512.h"

namespace sqz {

extern const quantize_rows_s8_fn quantize_rows_s8_avx512vnni = Quantize<S8Vnni512>::run;

}  // namespace sqz
