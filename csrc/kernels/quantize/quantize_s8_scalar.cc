#include "kernels/quantize/quantize_s8.inl"
#include "simd/s8_scalar.h"

namespace sqz {

extern const quantize_rows_s8_fn quantize_rows_s8_scalar = Quantize<S8Scalar>::run;

}  // namespace sqz
