#include "kernels/attention/attention_s8_tiles.inl"
#include "kernels/target.h"
#include "simd/s8_vnni512.h"

namespace sqz {

extern const Kernel<attention_s8_fn> attention_s8_avx512vnni;

namespace {

using Products = AttentionTiles<S8Vnni512, SQZ_TILES>;

void run(const AttentionHeadS8 &h) {
  if (h.queries < Products::kLeastRows || h.keys < Products::kLeastKeys) return attention_s8_avx512vnni.run(h);
  Products::run(h, attention_s8_avx512vnni.run);
}

}  // namespace

SQZ_KERNEL(attention_s8, run, tile_of(Products::kBlock, 16 * Products::kPanels));

}  // namespace sqz
