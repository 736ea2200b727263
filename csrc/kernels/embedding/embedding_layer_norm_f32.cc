#include "kernels/embedding/embedding.inl"

#include "isa/target.h"

namespace sqz {

SQZ_KERNEL(embedding_layer_norm_f32, Embedding<Floats>::sum_layer_norm, tile_of(LayerNorm<Floats>::kRows, "rows"));

}  // namespace sqz
