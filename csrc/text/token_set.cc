#include "text/token_set.h"

namespace sqz {

namespace {

constexpr int kMostProbes = 64;  // of places that follow each other, for one token

uint64_t add_to_hash(uint64_t hash, uint8_t byte) { return (hash ^ byte ^ hash >> 29) * UINT64_C(0x9E3779B97F4A7C15); }

uint32_t check_of(uint64_t hash) { return static_cast<uint32_t>(hash); }

}  // namespace

bool TokenSet::fill(const uint8_t *bytes, const int32_t *offsets, int32_t count) {
  if (!bytes_.append(bytes, offsets[count]) || !offsets_.append(offsets, count + INT64_C(1))) return false;
  return fill_index();
}

bool TokenSet::fill_index() {
  int bits = 4;
  while ((INT64_C(1) << bits) < 2 * static_cast<int64_t>(count())) ++bits;
  shift_ = 64 - bits;
  const int64_t places = INT64_C(1) << bits;
  if (!index_.fill(places, {0, -1})) return false;
  for (int32_t token = 0; token < count(); ++token) {
    if (length(token) > longest_) longest_ = length(token);
    if (length(token) > kMostIndexed) continue;  // those are longer than what is looked up
    uint64_t hash = 0;
    for (int32_t i = 0; i < length(token); ++i) hash = add_to_hash(hash, bytes_[offsets_[token] + i]);
    auto place = static_cast<int64_t>(hash >> shift_);
    int probes = 0;
    while (index_[place].token >= 0) {
      if (++probes == kMostProbes) return true;
      place = (place + 1) & (places - 1);
    }
    index_[place] = {check_of(hash), token};
  }
  indexed_ = true;
  return true;
}

int32_t TokenSet::longest_by_index(const Root &root, const uint8_t *p, int64_t most, int64_t *taken) const {
  uint64_t hashes[kMostIndexed];
  uint64_t hash = root.hash;
  for (int64_t i = 0; i < most; ++i) hashes[i] = hash = add_to_hash(hash, p[i]);
  const int64_t mask = index_.size() - 1;
  for (int64_t size = most; size > 0; --size) {
    const uint64_t now = hashes[size - 1];
    auto place = static_cast<int64_t>(now >> shift_);
    for (int i = 0; i < kMostProbes && index_[place].token >= 0; ++i, place = (place + 1) & mask) {
      const int32_t token = index_[place].token;
      // Those with the root's prefix are neighbours in the order.
      if (index_[place].check == check_of(now) && length(token) == root.depth + size && token >= root.first[0] &&
          token < root.first[256] && memcmp(bytes(token) + root.depth, p, static_cast<size_t>(size)) == 0) {
        *taken = size;
        return token;
      }
    }
  }
  return -1;
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

TokenSet::Range TokenSet::with_prefix(const uint8_t *prefix, int64_t size) const {
  Range range = {0, count()};
  for (int64_t i = 0; i < size && range.low < range.high; ++i)
    range = narrow(range, static_cast<int32_t>(i), prefix[i]);
  return range;
}

int32_t TokenSet::find(const uint8_t *p, int64_t size) const {
  const Range range = with_prefix(p, size);
  return range.low < range.high && length(range.low) == size ? range.low : -1;
}

TokenSet::Root TokenSet::root(const uint8_t *prefix, int64_t size) const {
  const Range range = with_prefix(prefix, size);
  Root root;
  root.depth = static_cast<int32_t>(size);
  for (int64_t i = 0; i < size; ++i) root.hash = add_to_hash(root.hash, prefix[i]);
  for (int i = 0; i <= 256; ++i) root.first[i] = lower(range, root.depth, i);
  return root;
}

int32_t TokenSet::longest_by_order(const Root &root, const uint8_t *p, const uint8_t *end, int64_t *taken) const {
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
    range = narrow(range, depth, *q);
  }
  return best;
}

}  // namespace sqz
