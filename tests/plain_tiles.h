// Tiles in plain C, to test the kernels of AMX on processors without it. The program aborts where the processor would
// raise an exception, and where tiles are configured again that were not released: the tasks of a thread follow each
// other, so a second one finds what the first one left. The file that PLAIN_TILES_LOG names gets a line whenever tiles
// are configured.
#ifndef SQZ_TESTS_PLAIN_TILES_H_
#define SQZ_TESTS_PLAIN_TILES_H_

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/tiles_amx.h"

namespace sqz {

// The registers of a thread.
struct PlainTilesState {
  bool configured = false;
  int rows[8] = {}, bytes[8] = {};
  uint8_t tiles[8][16][64] = {};
};
inline PlainTilesState &plain_tiles() {
  thread_local PlainTilesState state;
  return state;
}

namespace {

struct PlainTiles {
  static void configure(const TileShapes &shapes) {
    PlainTilesState &state = plain_tiles();
    need(!state.configured, "tiles to be released before they are configured again");
    need(shapes.palette == 1 && shapes.start_row == 0, "palette 1 and start row 0");
    for (uint8_t reserved : shapes.reserved) need(reserved == 0, "0 in reserved bytes");
    for (int t = 0; t < 16; ++t) {
      need(shapes.rows[t] <= 16 && shapes.bytes[t] <= 64, "a tile of at most 16 rows of 64 bytes");
      need(t < 8 || shapes.rows[t] == 0, "eight tiles");
      need((shapes.rows[t] == 0) == (shapes.bytes[t] == 0), "rows and bytes of a tile, or neither");
    }
    for (int t = 0; t < 8; ++t) state.rows[t] = shapes.rows[t], state.bytes[t] = shapes.bytes[t];
    memset(state.tiles, 0, sizeof state.tiles);
    state.configured = true;
    if (const char *log = getenv("PLAIN_TILES_LOG")) {
      FILE *file = fopen(log, "a");
      need(file && fputs("configured\n", file) >= 0 && fclose(file) == 0, "a log that can be written");
    }
  }

  static void release() {
    need(plain_tiles().configured, "configured tiles where they are released");
    plain_tiles().configured = false;
  }

  template <int T>
  static void zero() {
    memset(tile(T), 0, 1024);
  }

  template <int T>
  static void load(const void *p, int64_t stride) {
    uint8_t(*to)[64] = tile(T);
    memset(to, 0, 1024);
    for (int i = 0; i < rows(T); ++i) memcpy(to[i], static_cast<const uint8_t *>(p) + i * stride, bytes(T));
  }

  template <int T>
  static void store(void *p, int64_t stride) {
    const uint8_t(*from)[64] = tile(T);
    for (int i = 0; i < rows(T); ++i) memcpy(static_cast<uint8_t *>(p) + i * stride, from[i], bytes(T));
  }

  template <int C, int A, int B>
  static void dot() {
    static_assert(C != A && C != B && A != B, "three tiles");
    uint8_t(*c)[64] = tile(C);
    const uint8_t(*a)[64] = tile(A), (*b)[64] = tile(B);
    need(rows(C) == rows(A) && bytes(C) == bytes(B) && bytes(A) == 4 * rows(B),
         "shapes of a product: C rows of A, columns of B; A four bytes per row of B");
    need(bytes(C) % 4 == 0, "sums of four bytes each");
    for (int i = 0; i < rows(C); ++i) {
      int32_t sums[16];
      memcpy(sums, c[i], 64);
      for (int k = 0; k < rows(B); ++k)
        for (int j = 0; j < bytes(C); ++j) sums[j / 4] += a[i][4 * k + j % 4] * static_cast<int8_t>(b[k][j]);
      memcpy(c[i], sums, 64);
    }
  }

 private:
  static void need(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "plain tiles: expected %s\n", what);
    abort();
  }
  static int rows(int t) { return plain_tiles().rows[t]; }
  static int bytes(int t) { return plain_tiles().bytes[t]; }
  static uint8_t (*tile(int t))[64] {
    need(plain_tiles().configured && rows(t) > 0, "a configured tile");
    return plain_tiles().tiles[t];
  }
};

}  // namespace
}  // namespace sqz

#endif  // SQZ_TESTS_PLAIN_TILES_H_
