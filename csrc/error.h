// The calling thread's error message.
#ifndef SQZ_ERROR_H_
#define SQZ_ERROR_H_

#include "squeezeops/squeezeops.h"

namespace sqz {

constexpr int kMessageSize = 4096;

// Keeps the formatted message for sqz_error_message() and returns `status`.
__attribute__((cold, format(printf, 2, 3))) sqz_status fail(sqz_status status, const char *format, ...);

// Returns from the calling function unless the status is SQZ_OK.
#define SQZ_TRY(expression)                                      \
  do {                                                           \
    if (const sqz_status status_ = (expression)) return status_; \
  } while (0)

}  // namespace sqz

#endif  // SQZ_ERROR_H_
