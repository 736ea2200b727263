// BERT's normalisation of texts, with tables.inc. squeezeops/squeezebert/tokenizer/normalizer.py is the specification.
#ifndef SQZ_TEXT_NORMALIZER_H_
#define SQZ_TEXT_NORMALIZER_H_

#include <stdint.h>

#include "text/buffer.h"

namespace sqz {

enum class CharKind : uint8_t { kLetter, kSpace, kPunctuation, kOther };  // kind_of() calls anything else a letter

CharKind kind_of(uint32_t c);
// Whether a token that is a single word must not touch it: letters, marks, digits, connectors and joiners.
bool is_word_char(uint32_t c);

// A normalised text, and where it comes from.
struct Normalized {
  Buffer<uint8_t> bytes;
  // For each byte, where the character begins that it comes from: as a number of characters, or of bytes. Empty if all
  // characters are ASCII and at the same place.
  Buffer<int32_t> origin;
};

class Normalizer {
 public:
  Normalizer() = default;
  Normalizer(bool clean_text, bool handle_chinese_chars, bool strip_accents, bool lowercase);

  // Replaces `out` by the normalised form of a valid text. False without memory.
  bool run(const uint8_t *text, int64_t size, bool count_bytes, Normalized *out) const;

 private:
  friend class Reordering;
  bool run_ascii(const uint8_t *text, int64_t size, Normalized *out) const;

  bool clean_ = false, cjk_ = false, strip_ = false, lower_ = false;
  uint8_t ascii_[128];  // what each becomes; kDropped if nothing
};

}  // namespace sqz

#endif  // SQZ_TEXT_NORMALIZER_H_
