// A reader of JSON in memory, for texts from anywhere: it allocates nothing, and nesting is limited.
//
// A value is the span of its bytes. Only strings are decoded, each once, in place: the text is overwritten.
#ifndef SQZ_MODEL_JSON_H_
#define SQZ_MODEL_JSON_H_

#include <stdint.h>

#include "error.h"

namespace sqz::model {

struct Chars {
  char *p = nullptr;
  int64_t n = 0;
};

bool same(const Chars &a, const char *word);
bool begins(const Chars &a, const char *prefix);
// A text from a file, for a message: cut, and without control characters.
struct Shown {
  char s[124];
  explicit Shown(const Chars &text);
};

// The members of an object, or the items of a list. `what` is its name in messages.
class Members {
 public:
  Members(const char *what, const Chars &text, char open = '{');
  // The next one; false after the last, and for malformed text. The key is a JSON string.
  bool next(Chars *key, Chars *value);
  sqz_status status() const { return status_; }

 private:
  bool malformed();

  const char *what_;
  char *begin_, *at_, *end_, open_;
  bool first_ = true;
  sqz_status status_ = SQZ_OK;
};

// The members of an object with the given names, each at most once; others are ignored. What is not there stays empty.
// Two equal keys are an error.
sqz_status fields(const char *what, const Chars &object, int count, const char *const *names, Chars *values);

// Of a value: false if it is of another kind.
bool decode(const Chars &value, Chars *string);  // followed by a NUL
bool integer(const Chars &value, int64_t *number);
bool real(const Chars &value, double *number);
bool boolean(const Chars &value, bool *flag);
inline bool absent(const Chars &value) { return !value.p || same(value, "null"); }
// null, false, 0, "", [] and {}.
bool falsy(const Chars &value);

// Whether a text is UTF-8.
bool is_utf8(const char *p, int64_t n);

}  // namespace sqz::model

#endif  // SQZ_MODEL_JSON_H_
