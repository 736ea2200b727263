// Runs a fuzz target once on each file that is named: without libFuzzer, so with any compiler.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern "C" size_t LLVMFuzzerMutate(uint8_t *, size_t, size_t) { abort(); }  // for mutators, which nothing calls here

int main(int argc, char **argv) {
  for (int i = 1; i < argc; ++i) {
    FILE *file = fopen(argv[i], "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) return 1;
    const long size = ftell(file);
    rewind(file);
    auto *data = static_cast<uint8_t *>(malloc(static_cast<size_t>(size) + 1));
    if (fread(data, 1, static_cast<size_t>(size), file) != static_cast<size_t>(size)) return 1;
    fclose(file);
    printf("%s\n", argv[i]);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, static_cast<size_t>(size));
    free(data);
  }
  return 0;
}
