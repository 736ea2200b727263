#include "kernels/activation/activation_f32.inl"

#include "isa/target.h"

namespace sqz {

SQZ_KERNEL(activation_f32, Activation<Floats>::run, tile_of(16 * PolynomialTuning<Floats>::kVectors, "values"));

}  // namespace sqz
