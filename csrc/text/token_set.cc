#include "text/token_set.h"

namespace sqz {

namespace {

// Places of the table to look at. The bound holds for any set of tokens, however their hashes collide: what finds no
// place is found by its order.
constexpr uint32_t kProbes = 8;

uint32_t hash(const uint8_t *p, int64_t size) {
  constexpr uint64_t kFactor = UINT64_C(0x9E3779B97F4A7C15);
  uint64_t h = static_cast<uint64_t>(size) * kFactor, word = 0;
  for (; size >= 8; p += 8, size -= 8) {
    memcpy(&word, p, 8);
    h = (h ^ word) * kFactor;
    h ^= h >> 32;
  }
  word = 0;
  for (int64_t i = 0; i < size; ++i) word |= static_cast<uint64_t>(p[i]) << (8 * i);
  h = (h ^ word) * kFactor;
  return static_cast<uint32_t>(h >> 32);
}

}  // namespace

bool TokenSet::fill(const uint8_t *bytes, const int32_t *offsets, int32_t count) {
  int64_t places = 16;
  while (places < 2 * static_cast<int64_t>(count)) places *= 2;
  if (!bytes_.append(bytes, offsets[count]) || !offsets_.append(offsets, count + INT64_C(1)) || !table_.fill(places, 0))
    return false;
  const auto mask = static_cast<uint32_t>(places - 1);
  for (int32_t token = 0; token < count; ++token) {
    const uint32_t start = hash(this->bytes(token), length(token));
    for (uint32_t i = 0; i < kProbes; ++i) {
      int32_t &place = table_[(start + i) & mask];
      if (place) continue;
      place = token + 1;
      break;
    }
  }
  return true;
}

int32_t TokenSet::find(const uint8_t *p, int64_t size) const {
  const auto mask = static_cast<uint32_t>(table_.size() - 1);
  const uint32_t start = hash(p, size);
  for (uint32_t i = 0; i < kProbes; ++i) {
    const int32_t token = table_[(start + i) & mask] - 1;
    if (token < 0) return -1;  // it would be here
    if (length(token) == size && memcmp(bytes(token), p, static_cast<size_t>(size)) == 0) return token;
  }
  Range range = {0, count()};
  for (int64_t i = 0; i < size && range.low < range.high; ++i) {
    const auto depth = static_cast<int32_t>(i);
    range = {lower(range, depth, p[i]), lower(range, depth, p[i] + 1)};
  }
  return range.low < range.high && length(range.low) == size ? range.low : -1;
}

int32_t TokenSet::lower(Range range, int32_t depth, int byte) const {
  while (range.low < range.high) {
    const int32_t middle = range.low + (range.high - range.low) / 2;
    if (byte_at(middle, depth) < byte)
      range.low = middle + 1;
    else
      range.high = middle;
  }
  return range.low;
}

TokenSet::Root TokenSet::root(const uint8_t *prefix, int64_t size) const {
  Range range = {0, count()};
  for (int64_t i = 0; i < size && range.low < range.high; ++i) {
    const auto depth = static_cast<int32_t>(i);
    range = {lower(range, depth, prefix[i]), lower(range, depth, prefix[i] + 1)};
  }
  Root root;
  root.depth = static_cast<int32_t>(size);
  for (int i = 0; i <= 256; ++i) root.first[i] = lower(range, root.depth, i);
  return root;
}

int32_t TokenSet::longest(const Root &root, const uint8_t *p, const uint8_t *end, int64_t *taken) const {
  int32_t best = -1;
  if (p == end) return best;
  Range range = {root.first[*p], root.first[*p + 1]};
  const uint8_t *q = p;
  for (int32_t depth = root.depth + 1; range.low < range.high; ++depth) {
    ++q;
    if (length(range.low) == depth) {  // the shortest one is the first
      best = range.low++;
      *taken = q - p;
    }
    if (q == end) break;
    if (range.high - range.low == 1) {  // nothing to search for
      const int32_t token = range.low, rest = length(token) - depth;
      if (rest <= end - q && memcmp(bytes(token) + depth, q, static_cast<size_t>(rest)) == 0) {
        best = token;
        *taken = q + rest - p;
      }
      break;
    }
    const int32_t low = lower(range, depth, *q);
    range = {low, lower({low, range.high}, depth, *q + 1)};
  }
  return best;
}

}  // namespace sqz
