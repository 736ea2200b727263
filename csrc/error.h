// The calling thread's error message.
#ifndef SQZ_ERROR_H_
#define SQZ_ERROR_H_

#include "squeezeops/squeezeops.h"

namespace sqz {

constexpr int kMessageSize = 512;

// Keeps the formatted message for sqz_error_message() and returns `status`.
__attribute__((format(printf, 2, 3))) sqz_status fail(sqz_status status, const char *format, ...);

}  // namespace sqz

#endif  // SQZ_ERROR_H_
