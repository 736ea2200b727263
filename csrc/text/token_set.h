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
    uint64_t hash = 0;         // of the prefix
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
  int32_t longest(const Root &root, const uint8_t *p, const uint8_t *end, int64_t *taken) const {
    const int64_t rest = end - p, limit = longest_ - root.depth, most = rest < limit ? rest : limit;
    return indexed_ && root.depth + most <= kMostIndexed ? longest_by_index(root, p, most, taken)
                                                         : longest_by_order(root, p, end, taken);
  }
  Root root(const uint8_t *prefix, int64_t size) const;

 private:
  static constexpr int64_t kMostIndexed = 64;

  struct Entry {
    uint32_t check;  // more bits of the hash
    int32_t token;   // -1: none
  };

  // A look-up per length, all of which the processor can do at once, from the longest down.
  int32_t longest_by_index(const Root &root, const uint8_t *p, int64_t most, int64_t *taken) const;
  // By binary search for one byte after the other.
  int32_t longest_by_order(const Root &root, const uint8_t *p, const uint8_t *end, int64_t *taken) const;
  // Adds all tokens to the index. Too many with the same place in it, which takes a vocabulary that was made for that,
  // and it is not used.
  bool fill_index();

  // Bytes at a place of a token: -1 after its end.
  int byte_at(int32_t token, int32_t depth) const {
    return depth < length(token) ? bytes_[offsets_[token] + depth] : -1;
  }
  // The first token of a range whose byte at `depth` is at least this; all before that are equal.
  int32_t lower(Range range, int32_t depth, int byte) const;
  Range narrow(Range range, int32_t depth, uint8_t byte) const {
    const int32_t low = lower(range, depth, byte);
    return {low, lower({low, range.high}, depth, byte + 1)};
  }
  Range with_prefix(const uint8_t *prefix, int64_t size) const;

  Buffer<uint8_t> bytes_;
  Buffer<int32_t> offsets_;
  Buffer<Entry> index_;  // of 2^(64 - shift_) places
  int shift_ = 0;
  bool indexed_ = false;
  int32_t longest_ = 0;
};

}  // namespace sqz

#endif  // SQZ_TEXT_TOKEN_SET_H_
