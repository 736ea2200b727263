/* What the WebAssembly module has in place of functions of the C library; CMakeLists.txt renames their calls. */
#include <stdlib.h>

char *sqz_getenv(const char *name);
void sqz_qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *));

/* The module has no environment variables, and getenv() would import functions of WASI. */
char *sqz_getenv(const char *name) {
  (void)name;
  return NULL;
}

static void swap(char *a, char *b, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    const char kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  }
}

/* Heapsort: 0.4 KB where that of the C library has 12. */
void sqz_qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *)) {
  char *const items = base;
  size_t parents = count / 2, end = count;
  while (end > 1) {
    if (parents > 0) {
      --parents; /* still making the heap */
    } else {
      --end;
      swap(items, items + end * size, size);
    }
    for (size_t parent = parents, child; (child = 2 * parent + 1) < end; parent = child) {
      if (child + 1 < end && compare(items + child * size, items + (child + 1) * size) < 0) ++child;
      if (compare(items + parent * size, items + child * size) >= 0) break;
      swap(items + parent * size, items + child * size, size);
    }
  }
}
