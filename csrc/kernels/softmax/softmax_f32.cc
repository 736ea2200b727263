#include "kernels/softmax/softmax_f32.inl"

#include "isa/target.h"

namespace sqz {

SQZ_KERNEL(softmax_f32, Softmax<Floats>::run, tile_of(Softmax<Floats>::kBlockRows, "rows"));

}  // namespace sqz
