// What the fuzz targets in C share: a failure must have a message of its own.
#ifndef SQZ_TESTS_FUZZ_HARNESS_H_
#define SQZ_TESTS_FUZZ_HARNESS_H_

#include <squeezeops/squeezeops.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

inline void check(bool good, const char *what) {
  if (good) return;
  fprintf(stderr, "%s: wrong, with the message %s\n", what, sqz_error_message());
  abort();
}

constexpr const char *kOwn = "model: expected an open handle, got 1234567890123";

// Sets a message that no other failure has: a success leaves the last one.
inline void begin() {
  check(sqz_model_close(1234567890123) == SQZ_INVALID && !strcmp(sqz_error_message(), kOwn), "begin");
}

// Whether a call after begin() succeeded.
inline bool works(sqz_status status) {
  if (status == SQZ_OK) return true;
  const char *message = sqz_error_message();
  check(*message && strcmp(message, kOwn), "status without a message");
  begin();
  return false;
}

// The same for a function that returns a size, or a negative number.
inline bool works(int64_t size) { return works(size < 0 ? SQZ_INVALID : SQZ_OK); }

#endif  // SQZ_TESTS_FUZZ_HARNESS_H_
