/* The WebAssembly module has this in place of getenv(), which would import two functions of WASI: it has no
 * environment variables. */
#include <stddef.h>

char *sqz_getenv(const char *name);
char *sqz_getenv(const char *name) {
  (void)name;
  return NULL;
}
