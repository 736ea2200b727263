#include "kernels/layer_norm/layer_norm_f32.inl"

#include "isa/target.h"

namespace sqz {

SQZ_KERNEL(layer_norm_f32, LayerNorm<Floats>::run, tile_of(LayerNorm<Floats>::kRows, "rows"));

}  // namespace sqz
