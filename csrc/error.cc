#include "error.h"

#include <stdarg.h>
#include <stdio.h>

namespace sqz {

namespace {
thread_local char message[kMessageSize] = "";
}

sqz_status fail(sqz_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return status;
}

}  // namespace sqz

extern "C" const char *sqz_error_message(void) { return sqz::message; }
