#include "kernels/pwconv/pwconv_s8_tiles.inl"
#include "kernels/target.h"
#include "simd/s8_vnni512.h"

namespace sqz {

extern const Kernel<pwconv_s8_fn> pwconv_s8_avx512vnni;

namespace {

void run(const Pwconv &p, int64_t row_begin, int64_t row_end, int64_t panel_begin, int64_t panel_end) {
  using Convolution = ConvolveTiles<S8Vnni512, SQZ_TILES>;
  if (row_end - row_begin < Convolution::kLeastRows || p.group_in == 0)
    return pwconv_s8_avx512vnni.run(p, row_begin, row_end, panel_begin, panel_end);
  Convolution::run(p, row_begin, row_end, panel_begin, panel_end);
}

}  // namespace

SQZ_KERNEL(pwconv_s8, run, tile_of(32, 32));

}  // namespace sqz
