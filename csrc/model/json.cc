#include "model/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

namespace sqz::model {

namespace {

constexpr int kMostDepth = 64;  // of nesting; Python's limit is about 1000

bool digit(char c) { return c >= '0' && c <= '9'; }

int hex(char c) { return digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

// Steps over values. `at` stops where the text is malformed.
struct Scanner {
  char *at, *end;

  void space() {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
  }
  bool take(char c) {
    space();
    if (at == end || *at != c) return false;
    ++at;
    return true;
  }
  bool word(const char *text) {
    const size_t n = strlen(text);
    if (static_cast<size_t>(end - at) < n || memcmp(at, text, n) != 0) return false;
    at += n;
    return true;
  }
  bool digits() {
    const char *begin = at;
    while (at < end && digit(*at)) ++at;
    return at > begin;
  }
  bool number() {
    if (at < end && *at == '-') ++at;
    if (at < end && *at == '0') {
      ++at;
    } else if (!digits()) {
      return false;
    }
    if (at < end && *at == '.') {
      ++at;
      if (!digits()) return false;
    }
    if (at < end && (*at | 32) == 'e') {
      ++at;
      if (at < end && (*at == '+' || *at == '-')) ++at;
      if (!digits()) return false;
    }
    return true;
  }
  bool string() {
    if (!take('"')) return false;
    char *p = at;
    bool good = true, closed = false;
    while (good && !closed && p < end) {
      const auto c = static_cast<unsigned char>(*p++);
      closed = c == '"';
      good = c >= 32;
      if (c == '\\') good = escape(&p);
    }
    at = p;
    return good && closed;
  }
  // What follows a backslash.
  bool escape(char **p) const {
    if (*p == end) return false;
    const char c = *(*p)++;
    int digits = c == 'u' ? 4 : 0;
    while (digits > 0 && *p < end && hex(**p) >= 0) ++*p, --digits;
    return digits == 0 && (c == 'n' || (c && strchr("\"\\/bfrtu", c)));
  }
  bool value(int depth = 0) {
    space();
    if (at == end || depth == kMostDepth) return false;
    switch (*at) {
      case '"': return string();
      case 't': return word("true");
      case 'f': return word("false");
      case 'n': return word("null");
      case '[':
      case '{': break;
      default: return number();
    }
    const bool object = *at++ == '{';
    const char close = object ? '}' : ']';
    if (take(close)) return true;
    do {
      if (object && !(string() && take(':'))) return false;
      if (!value(depth + 1)) return false;
    } while (take(','));
    return take(close);
  }
};

// The code of an escape \uXXXX; -1 if there is none.
int unit(const char *p, const char *end) {
  if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return -1;
  int code = 0;
  for (int i = 2; i < 6; ++i) code = code * 16 + hex(p[i]);
  return code;
}

}  // namespace

bool same(const Chars &a, const char *word) {
  const size_t n = strlen(word);
  return a.p && static_cast<size_t>(a.n) == n && memcmp(a.p, word, n) == 0;
}

bool begins(const Chars &a, const char *prefix) {
  const size_t n = strlen(prefix);
  return a.p && static_cast<size_t>(a.n) >= n && memcmp(a.p, prefix, n) == 0;
}

Shown::Shown(const Chars &text) {
  int n = 0;
  for (; n < text.n && n < 120; ++n) {
    const char c = text.p[n];
    s[n] = static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  }
  while (n < text.n && n > 0 && (text.p[n] & 0xC0) == 0x80) --n;  // not within a character of UTF-8
  if (n < text.n) s[n++] = '.', s[n++] = '.', s[n++] = '.';
  s[n] = '\0';
}

Members::Members(const char *what, const Chars &text, char open)
    : what_(what), begin_(text.p), at_(text.p), end_(text.p + text.n), open_(open) {}

bool Members::malformed() {
  status_ = fail(SQZ_INVALID, "%s: expected %s in JSON, got other text at offset %lld", what_,
                 open_ == '{' ? "an object" : "a list", static_cast<long long>(at_ - begin_));
  return false;
}

bool Members::next(Chars *key, Chars *value) {
  Scanner s{at_, end_};
  bool good = !status_;
  if (good && first_) good = begin_ && s.take(open_);
  const char close = open_ == '{' ? '}' : ']';
  if (good && s.take(close)) {
    s.space();
    at_ = s.at;
    return at_ == end_ ? false : malformed();
  }
  if (good && !first_) good = s.take(',');
  first_ = false;
  s.space();
  *key = {s.at, 0};
  if (good && open_ == '{') {
    good = s.string();
    key->n = s.at - key->p;
    good = good && s.take(':');
  }
  s.space();
  *value = {s.at, 0};
  good = good && s.value();
  value->n = s.at - value->p;
  at_ = s.at;
  // A trailing comma is malformed, which s.value() sees; so is a value without a comma or an end after it.
  return good ? true : status_ ? false : malformed();
}

sqz_status fields(const char *what, const Chars &object, int count, const char *const *names, Chars *values) {
  for (int i = 0; i < count; ++i) values[i] = {};
  Members members(what, object);
  Chars key, value;
  while (members.next(&key, &value)) {
    decode(key, &key);
    for (int i = 0; i < count; ++i) {
      if (!same(key, names[i])) continue;
      if (values[i].p) return fail(SQZ_INVALID, "%s: expected every key once, got '%s' twice", what, names[i]);
      values[i] = value;
    }
  }
  return members.status();
}

bool decode(const Chars &value, Chars *string) {
  if (!value.p || value.n < 2 || *value.p != '"') return false;
  const char *from = value.p + 1, *end = value.p + value.n - 1;
  char *const begin = value.p + 1, *to = begin;
  while (from < end) {
    if (*from != '\\') {
      *to++ = *from++;
      continue;
    }
    int code = from[1] == 'u' ? unit(from, end) : -1;
    if (code >= 0) {
      from += 6;
      const int low = code >> 10 == 0x36 ? unit(from, end) : -1;  // the other half of a pair
      if (low >> 10 == 0x37) {
        code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
        from += 6;
      }
      to += encode(static_cast<uint32_t>(code), reinterpret_cast<uint8_t *>(to));
      continue;
    }
    const char *const names = "bfnrt", *found = strchr(names, from[1]);
    *to++ = found ? "\b\f\n\r\t"[found - names] : from[1];
    from += 2;
  }
  *to = '\0';
  *string = {begin, to - begin};
  return true;
}

bool integer(const Chars &value, int64_t *number) {
  const bool negative = value.n > 0 && *value.p == '-';
  if (value.n - negative < 1 || value.n > 20) return false;
  int64_t n = 0;
  for (int64_t i = negative; i < value.n; ++i)
    if (!digit(value.p[i]) || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, value.p[i] - '0', &n))
      return false;
  *number = negative ? -n : n;
  return true;
}

// The digits with an exponent and without a point, because strtod's is that of the locale.
bool real(const Chars &value, double *number) {
  char text[64];
  if (value.n < 1 || value.n > 40 || !(digit(*value.p) || *value.p == '-')) return false;
  int at = 0, shift = 0;
  int64_t i = 0;
  for (bool point = false; i < value.n && (value.p[i] | 32) != 'e'; ++i) {
    if (value.p[i] == '.') {
      point = true;
    } else {
      text[at++] = value.p[i];
      shift += point;
    }
  }
  int64_t exponent = 0;
  if (i < value.n) {
    ++i;
    if (value.p[i] == '+') ++i;
    if (!integer({value.p + i, value.n - i}, &exponent)) return false;
  }
  exponent = exponent > 9999 ? 9999 : exponent < -9999 ? -9999 : exponent;
  snprintf(text + at, sizeof text - static_cast<size_t>(at), "e%d", static_cast<int>(exponent) - shift);
  *number = strtod(text, nullptr);
  return true;
}

bool boolean(const Chars &value, bool *flag) {
  *flag = same(value, "true");
  return *flag || same(value, "false");
}

bool falsy(const Chars &value) {
  if (absent(value) || same(value, "false") || same(value, "\"\"")) return true;
  double number;
  if (real(value, &number)) return number == 0;
  if (*value.p != '[' && *value.p != '{') return false;
  Scanner s{value.p + 1, value.p + value.n};
  return s.take(*value.p == '[' ? ']' : '}');
}

bool is_utf8(const char *text, int64_t n) {
  bool ascii;
  return find_invalid(reinterpret_cast<const uint8_t *>(text), n, false, &ascii) == n;
}

}  // namespace sqz::model
