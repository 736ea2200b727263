// UTF-8. Inside, code points from U+D800 to U+DFFF are encoded like their neighbours.
#ifndef SQZ_TEXT_UTF8_H_
#define SQZ_TEXT_UTF8_H_

#include <stdint.h>
#include <string.h>

namespace sqz {

inline bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the code point that begins with this one.
inline int utf8_size(uint8_t first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

// The code point at p, which is valid.
inline uint32_t decode(const uint8_t *p) {
  const uint32_t a = p[0];
  if (a < 0x80) return a;
  if (a < 0xE0) return (a & 0x1F) << 6 | (p[1] & 0x3Fu);
  if (a < 0xF0) return (a & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
  return (a & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

// That which ends at p.
inline uint32_t decode_before(const uint8_t *p) {
  do --p;
  while (is_continuation(*p));
  return decode(p);
}

// Writes up to 4 bytes and returns their number.
inline int encode(uint32_t c, uint8_t *p) {
  if (c < 0x80) {
    p[0] = static_cast<uint8_t>(c);
    return 1;
  }
  const int size = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (int i = size - 1; i > 0; --i, c >>= 6) p[i] = static_cast<uint8_t>(0x80 | (c & 0x3F));
  p[0] = static_cast<uint8_t>((0xF00 >> size) | c);
  return size;
}

// Where the first code point begins that is not valid; `size` if all are. `ascii`: whether all bytes are below 0x80.
inline int64_t find_invalid(const uint8_t *p, int64_t size, bool surrogates, bool *ascii) {
  *ascii = true;
  for (int64_t i = 0; i < size;) {
    uint64_t eight = UINT64_C(0x8080808080808080);
    if (size - i >= 8) memcpy(&eight, p + i, 8);
    if (!(eight & UINT64_C(0x8080808080808080))) {
      i += 8;
      continue;
    }
    const uint32_t a = p[i];
    if (a < 0x80) {
      ++i;
      continue;
    }
    *ascii = false;
    const int n = utf8_size(static_cast<uint8_t>(a));
    if (a < 0xC2 || a > 0xF4 || n > size - i) return i;
    for (int k = 1; k < n; ++k)
      if (!is_continuation(p[i + k])) return i;
    const uint32_t c = decode(p + i);
    if (n > 2 && c < (n == 3 ? 0x800u : 0x10000u)) return i;
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000 && !surrogates)) return i;
    i += n;
  }
  return size;
}

}  // namespace sqz

#endif  // SQZ_TEXT_UTF8_H_
