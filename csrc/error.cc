#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

namespace sqz {

namespace {
thread_local char message[kMessageSize] = "";
thread_local char argument[64] = "";
}  // namespace

sqz_status fail(sqz_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  // A longer one is cut, but not within a character of UTF-8.
  size_t end = strlen(message);
  if (end == sizeof message - 1) {
    while (end > 0 && (message[end - 1] & 0xC0) == 0x80) --end;
    if (end > 0 && (message[end - 1] & 0x80)) --end;
    message[end] = '\0';
  }
  // Every message begins with the name of the argument: "x: expected ..., got ...".
  const size_t length = strcspn(message, ":");
  snprintf(argument, sizeof argument, "%.*s", static_cast<int>(length), message);
  return status;
}

}  // namespace sqz

extern "C" const char *sqz_error_message(void) { return sqz::message; }
extern "C" const char *sqz_error_argument(void) { return sqz::argument; }
