// Elementwise activations.
#ifndef SQZ_KERNELS_ACTIVATION_ACTIVATION_H_
#define SQZ_KERNELS_ACTIVATION_ACTIVATION_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// out[i] = activation(x[i]); out may be x. The ops pass 16 for `step`. Convolutions, which use the kernel too, may pass
// another one where the tile of their ISA is one panel and its polynomials take one vector: each 16 values of out then
// begin `step` behind those before, and n is a multiple of 16.
using activation_f32_fn = void (*)(sqz_activation activation, int64_t n, const float *x, float *out, int64_t step);

}  // namespace sqz

#endif  // SQZ_KERNELS_ACTIVATION_ACTIVATION_H_
