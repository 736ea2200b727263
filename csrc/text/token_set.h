// Tokens in ascending order of their bytes: which one a word is, and the longest one that a text begins with.
#ifndef SQZ_TEXT_TOKEN_SET_H_
#define SQZ_TEXT_TOKEN_SET_H_

#include <stdint.h>

#include "text/buffer.h"

namespace sqz {

class TokenSet {
 public:
  // Tokens that begin with the same bytes: those from `low` to before `high`.
  struct Range {
    int32_t low, high;
  };
  // Where the search for the rest of tokens begins: after a common prefix. One table entry per next byte.
  struct Root {
    int32_t depth = 0;         // length of the prefix
    int32_t first[257] = {0};  // those whose next byte is at least i begin at first[i]
  };

  // Copies tokens that are sorted and valid, each once. False without memory.
  bool fill(const uint8_t *bytes, const int32_t *offsets, int32_t count);

  int32_t count() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  int32_t length(int32_t token) const { return offsets_[token + 1] - offsets_[token]; }
  const uint8_t *bytes(int32_t token) const { return bytes_.data() + offsets_[token]; }

  // The token with exactly these bytes; -1 if there is none.
  int32_t find(const uint8_t *p, int64_t size) const;
  // The longest token that is the root's prefix and then at least one of the bytes from p to before `end`, and how many
  // of them it takes; -1 if there is none.
  int32_t longest(const Root &root, const uint8_t *p, const uint8_t *end, int64_t *taken) const;
  Root root(const uint8_t *prefix, int64_t size) const;

 private:
  // Bytes at a place of a token: -1 after its end.
  int byte_at(int32_t token, int32_t depth) const {
    return depth < length(token) ? bytes_[offsets_[token] + depth] : -1;
  }
  // The first token of a range whose byte at `depth` is at least this; all before that are equal.
  int32_t lower(Range range, int32_t depth, int byte) const;

  Buffer<uint8_t> bytes_;
  Buffer<int32_t> offsets_;
  Buffer<int32_t> table_;  // of a hash; entries are a token + 1. A token whose places are taken is not in it.
};

}  // namespace sqz

#endif  // SQZ_TEXT_TOKEN_SET_H_
