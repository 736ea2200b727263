// Pointwise convolution: packing of weights, quantised rows, and convolutions of one input.
#ifndef SQZ_RUN_PWCONV_H_
#define SQZ_RUN_PWCONV_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

using PwconvInput = sqz_pwconv_input;
using PwconvPart = sqz_pwconv_part;

inline bool is_int8(sqz_dtype dtype) { return dtype == SQZ_S8 || dtype == SQZ_S8_ROTATED; }

// Elements of a packed weight: floats, halves or bytes.
int64_t pwconv_packed_size(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out);

// Packs weights of `weight_dtype` as `dtype`. False if a finite weight is above the largest float16 and `dtype` is
// float16; `worst` is then it.
bool run_pwconv_pack(sqz_dtype dtype, int64_t groups, int64_t c_in, int64_t c_out, const void *weight,
                     sqz_dtype weight_dtype, void *packed, float *worst);

// Bytes of a quantised row.
int64_t quantized_width(int64_t channels, int64_t groups);

sqz_status run_quantize_rows(int64_t rows, int64_t channels, int64_t groups, bool rotate, const float *x, int64_t ldx,
                             uint8_t *q, int64_t ldq, float *scales);

// Several convolutions of one input. A quantised result i is rotated first if rotate_out[i]; null: none is.
sqz_status run_pwconv(const PwconvInput &x, int64_t count, const PwconvPart *parts, const bool *rotate_out = nullptr);

}  // namespace sqz

#endif  // SQZ_RUN_PWCONV_H_
