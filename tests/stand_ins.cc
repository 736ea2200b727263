// What csrc/isa asks in a build with stand-ins: a processor with AVX512_VNNI runs avxvnni too, and amx_int8 on plain
// tiles. PLAIN_TILES_LOG names a file that gets a line whenever permission is asked for, and PLAIN_TILES_REFUSED
// refuses it.
#include <stdio.h>
#include <stdlib.h>

namespace sqz {

bool cpu_has_avx512_vnni();
bool cpu_has_avxvnni() { return cpu_has_avx512_vnni(); }
bool cpu_has_amx_int8() { return cpu_has_avx512_vnni(); }

bool permit_tiles() {
  if (const char *log = getenv("PLAIN_TILES_LOG")) {
    FILE *file = fopen(log, "a");
    if (!file || fputs("asked\n", file) < 0 || fclose(file)) abort();
  }
  return !getenv("PLAIN_TILES_REFUSED");
}

}  // namespace sqz
