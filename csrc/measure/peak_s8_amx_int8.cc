// The int8 loop of peak.h on tiles: products of 32 rows and 32 columns, as the kernels compute them at a time.
#include "kernels/target.h"
#include "measure/peak.h"
#include "simd/tiles_amx.h"

namespace sqz {
namespace {

template <class Tiles>
struct PeakTiles {
  static constexpr int64_t kOperations = 4 * 2 * 16 * 16 * 64;  // of four products

  static float dots(int64_t steps, const uint8_t *a, const int8_t *w) {
    static_assert(16 * 64 <= kPeakStart, "a number for each byte of a tile");
    alignas(64) uint8_t row[64];
    alignas(64) int32_t sums[4][16 * 16];
    for (int i = 0; i < 64; ++i) row[i] = a[i % 4];
    {
      const TileSums<Tiles> tiles(16, 16);
      Tiles::template load<4>(row, 0);
      Tiles::template load<5>(row, 0);
      Tiles::template load<6>(w, 64);
      Tiles::template load<7>(w, 64);
      for (; steps > 0; --steps) {
        Tiles::template dot<0, 4, 6>();
        Tiles::template dot<1, 4, 7>();
        Tiles::template dot<2, 5, 6>();
        Tiles::template dot<3, 5, 7>();
      }
      Tiles::template store<0>(sums[0], 64);
      Tiles::template store<1>(sums[1], 64);
      Tiles::template store<2>(sums[2], 64);
      Tiles::template store<3>(sums[3], 64);
    }
    float total = 0;
    for (const auto &tile : sums) total += static_cast<float>(tile[0] + tile[255]);
    return total;
  }
};

}  // namespace

extern const PeakLoopS8 SQZ_SYMBOL(peak_s8);
const PeakLoopS8 SQZ_SYMBOL(peak_s8) = {PeakTiles<SQZ_TILES>::dots, PeakTiles<SQZ_TILES>::kOperations};

}  // namespace sqz
