// Elementwise activations.
#ifndef SQZ_KERNELS_ACTIVATION_ACTIVATION_H_
#define SQZ_KERNELS_ACTIVATION_ACTIVATION_H_

#include <stdint.h>

#include "squeezeops/squeezeops.h"

namespace sqz {

// out[i] = activation(x[i]); out may be x.
using activation_f32_fn = void (*)(sqz_activation activation, int64_t n, const float *x, float *out);

}  // namespace sqz

#endif  // SQZ_KERNELS_ACTIVATION_ACTIVATION_H_
