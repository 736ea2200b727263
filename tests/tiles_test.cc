// Sums of products on tiles (csrc/simd/tiles_amx.h), of the processor or in plain C, against a plain loop; rows and
// panels lie beside pages that cannot be read. test_stand_ins.py builds this and runs one group of checks by name.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <vector>

#include "plain_tiles.h"
#include "simd/tiles_amx.h"

namespace {

using namespace sqz;

char now[256];  // the case at hand, for the message

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      fprintf(stderr, "%s:%d: expected %s, for %s\n", __FILE__, __LINE__, #condition, now); \
      exit(1);                                                                              \
    }                                                                                       \
  } while (0)

void faulted(int signal_number) {
  fprintf(stderr, "signal %d, for %s\n", signal_number, now);
  _Exit(1);
}

std::mt19937 generator(1);

// Memory of random bytes between two pages that cannot be accessed, at the beginning or at the end of its pages.
struct Guarded {
  static constexpr size_t kPage = 4096;
  uint8_t *all;
  size_t length;
  uint8_t *bytes;

  Guarded(size_t size, bool at_end) : length((size + kPage - 1) / kPage * kPage + 2 * kPage) {
    void *mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED);
    all = static_cast<uint8_t *>(mapped);
    for (size_t i = kPage; i < length - kPage; ++i) all[i] = static_cast<uint8_t>(generator());
    CHECK(mprotect(all, kPage, PROT_NONE) == 0 && mprotect(all + length - kPage, kPage, PROT_NONE) == 0);
    bytes = at_end ? all + length - kPage - size : all + kPage;
  }
  ~Guarded() { munmap(all, length); }
};

// The tiles are configured for `before` steps first.
template <class Tiles, int NP>
void check_block(int tile_rows, int64_t second, int64_t before, int64_t steps, int64_t gap, bool at_end) {
  snprintf(now, sizeof now,
           "tiles of %d rows, the second %d below, %d panels, %d steps after %d, rows %d bytes apart, %s", tile_rows,
           static_cast<int>(second), NP, static_cast<int>(steps), static_cast<int>(before),
           static_cast<int>(4 * steps + gap), at_end ? "at the end of a page" : "at the beginning of a page");
  const int64_t rows = second + tile_rows, lda = 4 * steps + gap, panel = 64 * steps + gap / 4 * 64;
  const Guarded a((rows - 1) * lda + 4 * steps, at_end), b((NP - 1) * panel + 64 * steps, at_end);
  Guarded sums(rows * NP * 64, at_end);
  const int8_t *w = reinterpret_cast<const int8_t *>(b.bytes);
  const TilesAhead ahead = {reinterpret_cast<uintptr_t>(a.bytes), 3};
  uintptr_t at;
  {
    TileSums<Tiles> tiles(tile_rows, before);
    tiles.change_steps(steps);
    at = tiles.template block<NP>(a.bytes, lda, second, w, panel, reinterpret_cast<int32_t *>(sums.bytes), ahead);
  }
  CHECK(at == ahead.at + 64 * 3 * ((steps + 15) / 16));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < 16 * NP; ++j) {
      int32_t expected = 0, found;
      for (int64_t k = 0; k < 4 * steps; ++k)
        expected += a.bytes[i * lda + k] * w[j / 16 * panel + k / 4 * 64 + j % 16 * 4 + k % 4];
      memcpy(&found, sums.bytes + (i * 16 * NP + j) * 4, 4);
      CHECK(found == expected);
    }
}

template <class Tiles>
void test_sums() {
  const auto both = [](int tile_rows, int64_t second, int64_t steps, int64_t gap) {
    for (bool at_end : {false, true}) {
      check_block<Tiles, 1>(tile_rows, second, steps, steps, gap, at_end);
      check_block<Tiles, 2>(tile_rows, second, steps, steps, gap, at_end);
    }
  };
  for (int64_t before : {1, 15, 16, 17, 40})
    for (int64_t steps : {1, 15, 16, 17, 40}) check_block<Tiles, 2>(16, 16, before, steps, 0, true);
  for (int64_t steps = 1; steps <= 70; ++steps)
    for (int64_t second : {0, 1, 7, 16})
      for (int64_t gap : {0, 1, 52}) both(16, second, steps, gap);
  for (int rows = 1; rows < 16; ++rows)
    for (int64_t steps : {1, 15, 16, 17, 31, 32, 33}) both(rows, 0, steps, 4);
  both(16, 16, 1 << 10, 0);
}

// What a process says before it aborts; nothing if it does not abort.
template <class F>
std::vector<char> message(const F &misuse) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    dup2(ends[1], 2);
    misuse();
    _Exit(0);
  }
  close(ends[1]);
  std::vector<char> text(1000, '\0');
  const ssize_t size = read(ends[0], text.data(), text.size() - 1);
  close(ends[0]);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(size >= 0 && (size == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)));
  return text;
}

// Plain tiles abort where the processor would raise an exception.
void test_misuse() {
  using T = PlainTiles;
  static uint8_t memory[1024];
  const auto shaped = [](int a_rows, int a_bytes, int b_rows, int c_bytes) {
    TileShapes shapes;
    shapes.rows[0] = 8, shapes.bytes[0] = static_cast<uint16_t>(c_bytes);
    shapes.rows[1] = static_cast<uint8_t>(a_rows), shapes.bytes[1] = static_cast<uint16_t>(a_bytes);
    shapes.rows[2] = static_cast<uint8_t>(b_rows), shapes.bytes[2] = 64;
    T::configure(shapes);
  };
  const auto expect = [](const char *part, const std::vector<char> &text) {
    snprintf(now, sizeof now, "'%s' in '%.100s'", part, text.data());
    CHECK(*part ? strstr(text.data(), part) != nullptr : text[0] == '\0');
  };
  const auto product = [&](int a_rows, int a_bytes, int b_rows, int c_bytes) {
    return message([&] { shaped(a_rows, a_bytes, b_rows, c_bytes), T::dot<0, 1, 2>(); });
  };
  expect("", product(8, 40, 10, 64));
  expect("shapes of a product", product(7, 40, 10, 64));
  expect("shapes of a product", product(8, 40, 11, 64));
  expect("shapes of a product", product(8, 44, 10, 64));
  expect("shapes of a product", product(8, 40, 10, 60));
  expect("at most 16 rows", product(17, 40, 10, 64));
  expect("at most 16 rows", product(8, 40, 10, 65));
  expect("rows and bytes of a tile", product(8, 0, 10, 64));
  expect("a configured tile", message([] { T::zero<0>(); }));
  expect("a configured tile", message([] { T::load<0>(memory, 64); }));
  expect("a configured tile", message([] { T::store<0>(memory, 64); }));
  expect("a configured tile", message([&] { shaped(8, 40, 10, 64), T::zero<3>(); }));
  expect("a configured tile", message([&] { shaped(8, 40, 10, 64), T::release(), T::zero<0>(); }));
  expect("configured tiles where they are released", message([] { T::release(); }));
  expect("to be released", message([&] { shaped(8, 40, 10, 64), shaped(8, 40, 10, 64); }));
  expect("", message([&] { shaped(8, 40, 10, 64), T::release(), shaped(8, 40, 10, 64); }));
  expect("palette 1", message([] {
           TileShapes shapes;
           shapes.palette = 0;
           T::configure(shapes);
         }));
  expect("eight tiles", message([] {
           TileShapes shapes;
           shapes.rows[8] = 1, shapes.bytes[8] = 4;
           T::configure(shapes);
         }));
}

}  // namespace

int main(int count, char **arguments) {
  for (int signal_number : {SIGSEGV, SIGBUS, SIGILL}) signal(signal_number, faulted);
  const char *name = count == 2 ? arguments[1] : "";
  if (strcmp(name, "sums on plain tiles") == 0) {
    test_sums<PlainTiles>();
  } else if (strcmp(name, "misuse of plain tiles") == 0) {
    test_misuse();
  } else if (strcmp(name, "sums on the processor's tiles") == 0) {
    constexpr long kRequest = 0x1023, kTileData = 18;  // permission for tiles
    CHECK(syscall(SYS_arch_prctl, kRequest, kTileData) == 0);
    test_sums<HardwareTiles>();
  } else {
    return fprintf(stderr, "expected the name of a group of checks, got '%s'\n", name), 2;
  }
  return 0;
}
