#include "kernels/embedding/embedding.inl"

#include "isa/target.h"

namespace sqz {

SQZ_KERNEL(embedding_f32, Embedding<Floats>::gather, tile_of(1, "row"));

}  // namespace sqz
