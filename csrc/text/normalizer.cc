#include "text/normalizer.h"

#include "text/utf8.h"

namespace sqz {

namespace {

#include "text/tables.inc"

constexpr uint8_t kNothing = 0x80;  // in place of an ASCII character that is dropped

int class_of(uint32_t c) { return kClassValues[kClassSecond[kClassFirst[c >> 9] * 32 + (c >> 4) % 32] * 16 + c % 16]; }

// The last entry of an ascending table that is at most c; the first one is.
int last_of(const uint32_t *table, int count, uint32_t c) {
  int low = 0;
  while (count - low > 1) {
    const int middle = (low + count) / 2;
    (table[middle] <= c ? low : count) = middle;
  }
  return low;
}

// What is left of a character that decomposes, when its marks are dropped.
int decompose(uint32_t c, uint32_t out[4]) {
  if (c >= 0xAC00 && c < 0xAC00 + 19 * 21 * 28) {  // a syllable of Hangul
    const uint32_t i = c - 0xAC00;
    out[0] = 0x1100 + i / (21 * 28);
    out[1] = 0x1161 + i / 28 % 21;
    out[2] = 0x11A7 + i % 28;
    return i % 28 ? 3 : 2;
  }
  const int run = last_of(kRunFirst, sizeof kRunFirst / sizeof *kRunFirst, c);
  const uint32_t target = kTargets[kRunPlace[run] + (c - kRunFirst[run])];
  if (target < kLongFirst || target > 0xDFFF) {
    out[0] = target;
    return 1;
  }
  int n = 0;
  for (const uint32_t *part = kLongTargets + (target - kLongFirst);; ++part) {
    out[n++] = *part & 0x7FFFFFFF;
    if (!(*part >> 31)) return n;
  }
}

// The lower-case form of a character that has one.
int lower(uint32_t c, uint32_t out[2]) {
  if (c == 0x130) {  // capital I with a dot: the only one that becomes two
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
  }
  out[0] = c + kLowerDistance[last_of(kLowerFirst, sizeof kLowerFirst / sizeof *kLowerFirst, c)];
  return 1;
}

}  // namespace

CharKind kind_of(uint32_t c) {
  const uint8_t flags = kFlags[class_of(c)];
  return flags & kSpace ? CharKind::kSpace : flags & kPunctuation ? CharKind::kPunctuation : CharKind::kLetter;
}

bool is_word_char(uint32_t c) {
  const int block = kWordSecond[kWordFirst[c >> 11] * 16 + (c >> 7) % 16];
  return kWordBits[block * 4 + (c >> 5) % 4] >> c % 32 & 1;
}

Normalizer::Normalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents, bool lowercase)
    : clean_(clean_text), cjk_(handle_chinese_chars), strip_(strip_accents), lower_(lowercase) {
  for (uint32_t c = 0; c < 128; ++c) {
    const uint8_t flags = kFlags[class_of(c)];
    ascii_[c] = static_cast<uint8_t>(c);
    if (clean_ && flags & kSpace) ascii_[c] = ' ';
    if (clean_ && flags & kRemoved) ascii_[c] = kNothing;
    if (lower_ && flags & kLowers) ascii_[c] += 'a' - 'A';
  }
}

// Writes a normalised text, whose marks it sorts by combining class. Marks that are dropped count as long as there are
// others to sort, because where a mark comes from goes by its place: the first place that a mark took in the text is
// the origin of the first one in order.
class Reordering {
 public:
  Reordering(const Normalizer &normalizer, Normalized *out) : normalizer_(normalizer), out_(*out) {}

  // A character as it is after cleaning, from `origin`.
  bool add(uint32_t c, int32_t origin) {
    const int number = class_of(c);
    const uint8_t flags = kFlags[number];
    if (!normalizer_.strip_) return put(c, flags, origin);
    if (flags & (kDropped | kDecomposes) || kRanks[number] > 0) return add_marked(c, number, origin);
    return finish() && put(c, flags, now_ = origin);
  }

  // At the end of the text, and before each character that is no mark.
  bool finish() { return marks_.size() == 0 || sort(); }

  bool put_ascii(uint8_t c, int32_t origin) {
    if (!finish() || !room(1)) return false;
    now_ = origin;
    write(&c, 1, origin);
    return true;
  }

 private:
  struct Mark {
    uint32_t c;
    uint8_t rank;
    bool first;    // of the parts of its character
    bool dropped;  // kept here for its origin
  };

  bool add_marked(uint32_t c, int number, int32_t origin) {
    const uint8_t flags = kFlags[number], rank = kRanks[number];
    if (!(flags & kDecomposes)) {
      if (rank) return marks_.push({c, rank, true, (flags & kDropped) != 0}) && origins_.push(origin);
      if (!finish()) return false;
      now_ = origin;  // a mark that is dropped, and that others do not pass
      return true;
    }
    uint32_t parts[4];
    const int count = decompose(c, parts);
    if (!finish()) return false;
    now_ = origin;
    for (int i = 0; i < count; ++i) {
      const int part = class_of(parts[i]);
      if (kRanks[part]) {
        if (!marks_.push({parts[i], kRanks[part], false, false})) return false;
      } else if (!finish() || !put(parts[i], kFlags[part], origin)) {
        return false;
      }
    }
    return true;
  }

  // Emits the marks in ascending order of their ranks; those of equal rank stay in order.
  bool sort() {
    const int64_t count = marks_.size();
    bool any = false;
    for (const Mark &mark : marks_) any = any || !mark.dropped;
    if (any) {
      int64_t starts[257] = {0};
      for (const Mark &mark : marks_) ++starts[mark.rank + 1];
      for (int i = 0; i < 256; ++i) starts[i + 1] += starts[i];
      if (!sorted_.reserve(count)) return false;
      for (const Mark &mark : marks_) sorted_[starts[mark.rank]++] = mark;
      int64_t taken = 0;
      for (int64_t i = 0; i < count; ++i) {
        const Mark &mark = sorted_[i];
        if (mark.first) now_ = origins_[taken++];
        if (!mark.dropped && !put(mark.c, kFlags[class_of(mark.c)], now_)) return false;
      }
    } else if (origins_.size() > 0) {
      now_ = origins_[origins_.size() - 1];
    }
    marks_.clear();
    origins_.clear();
    return true;
  }

  bool put(uint32_t c, uint8_t flags, int32_t origin) {
    uint32_t small[2] = {c, 0};
    const int count = normalizer_.lower_ && flags & kLowers ? lower(c, small) : 1;
    if (!room(8)) return false;
    for (int i = 0; i < count; ++i) {
      uint8_t bytes[4];
      write(bytes, encode(small[i], bytes), origin);
    }
    return true;
  }

  bool room(int64_t more) { return out_.bytes.room(more) && out_.origin.room(more); }

  void write(const uint8_t *bytes, int count, int32_t origin) {
    for (int i = 0; i < count; ++i) {
      out_.bytes.push(bytes[i]);
      out_.origin.push(origin);
    }
  }

  const Normalizer &normalizer_;
  Normalized &out_;
  Buffer<Mark> marks_, sorted_;  // those since the last character that is no mark
  Buffer<int32_t> origins_;      // of those that come first
  int32_t now_ = 0;              // the origin of what was written last
};

bool Normalizer::run_ascii(const uint8_t *text, int64_t size, Normalized *out) const {
  uint8_t *to = out->bytes.data(), odd = 0;
  for (int64_t i = 0; i < size; ++i) {
    odd |= text[i];
    to[i] = ascii_[text[i] & 0x7F];
    odd |= to[i];
  }
  return odd < 0x80;
}

bool Normalizer::run(const uint8_t *text, int64_t size, bool count_bytes, Normalized *out) const {
  out->bytes.clear();
  out->origin.clear();
  if (!out->bytes.reserve(size)) return false;
  if (run_ascii(text, size, out)) {
    out->bytes.set_size(size);
    return true;
  }
  if (!out->origin.reserve(size)) return false;
  Reordering to(*this, out);
  int32_t at = 0;
  for (int64_t i = 0; i < size;) {
    const uint8_t first = text[i];
    const int length = utf8_size(first);
    if (first < 0x80) {
      if (ascii_[first] != kNothing && !to.put_ascii(ascii_[first], at)) return false;
    } else {
      const uint32_t c = decode(text + i);
      const uint8_t flags = kFlags[class_of(c)];
      const bool spaced = cjk_ && flags & kCjk;
      if (clean_ && flags & kRemoved) {
      } else if (clean_ && flags & kSpace) {
        if (!to.put_ascii(' ', at)) return false;
      } else if ((spaced && !to.put_ascii(' ', at)) || !to.add(c, at) || (spaced && !to.put_ascii(' ', at))) {
        return false;
      }
    }
    i += length;
    at += count_bytes ? length : 1;
  }
  return to.finish();
}

}  // namespace sqz
