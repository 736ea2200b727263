// The calling thread's error message.
#ifndef SQZ_ERROR_H_
#define SQZ_ERROR_H_

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "squeezeops/squeezeops.h"

#ifdef __GLIBC__
// MicroPython has printf functions of its own, which lack %lld, and a dynamic linker prefers those of the program. Call
// functions that the C library alone has; with a flag of 0 a compiler would turn them into the common ones.
extern "C" int __snprintf_chk(char *text, size_t size, int flag, size_t room, const char *format, ...) __THROW
    __attribute__((format(printf, 5, 6)));
extern "C" int __vsnprintf_chk(char *text, size_t size, int flag, size_t room, const char *format, va_list) __THROW;
#define snprintf(text, size, ...) __snprintf_chk(text, size, 1, SIZE_MAX, __VA_ARGS__)
#define vsnprintf(text, size, ...) __vsnprintf_chk(text, size, 1, SIZE_MAX, __VA_ARGS__)
#endif

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
