// A tokenizer, behind the handle of the C interface. Its arguments are checked by csrc/api/text.cc.
// squeezeops/squeezebert/tokenizer/tokenizer.py is the specification.
#ifndef SQZ_TEXT_TOKENIZER_H_
#define SQZ_TEXT_TOKENIZER_H_

#include <stdint.h>

#include "handles.h"
#include "squeezeops/squeezeops.h"
#include "text/buffer.h"
#include "text/normalizer.h"
#include "text/token_set.h"

namespace sqz {

inline const uint8_t *bytes_of(const sqz_text &text) { return reinterpret_cast<const uint8_t *>(text.data); }

// Added tokens that are matched in one kind of text.
struct AddedTokens {
  struct Record {
    int32_t id;
    bool single_word, lstrip, rstrip;
  };

  // Of records with the same form, the last one counts; one without a form is never matched. False without memory.
  bool fill(const Record *records, const sqz_text *forms, int64_t count);
  bool empty() const { return records_.size() == 0; }

  // Calls part(begin, end, record or null) for each part of a text; ends early and returns false if that does.
  template <class Part>
  bool split(const uint8_t *text, int64_t size, const Part &part) const;

 private:
  TokenSet set_;
  TokenSet::Root root_;
  bool begins_[256] = {};   // whether one begins with this byte
  int only_begin_ = -1;     // with which all begin; -1 if there is no such
  Buffer<Record> records_;  // in the order of the set
};

struct Token {
  int32_t id, begin, end, word;
};

struct Tokenizer {
  static const HandleType kHandle;

  // What a text or a pair becomes, before it is copied to the caller.
  struct Tokens {
    Buffer<Token> list;
    int64_t first = 0, last = 0;  // what truncation leaves
    int64_t count() const { return last - first; }
  };

  // From arguments that are well-formed, but for the vocabulary and UTF-8, which it checks.
  sqz_status fill(const sqz_tokenizer_args &args);
  // The tokens of a text, which is called `name` in messages.
  sqz_status encode(const char *name, const sqz_text &text, bool surrogates, bool count_bytes, Tokens *tokens) const;

  Buffer<sqz_template_part> templates[2];
  int64_t max_length = 0;
  sqz_side truncation_side = SQZ_SIDE_RIGHT;

 private:
  friend class Encoder;
  sqz_status fill_vocabulary(const sqz_tokenizer_args &args);
  sqz_status fill_added(const sqz_tokenizer_args &args);

  TokenSet vocabulary_;
  Buffer<int32_t> ids_;
  TokenSet::Root start_, inside_;  // of pieces at the beginning of a word, and of others
  int64_t max_chars_ = 0;
  int32_t unk_id_ = -1;
  Buffer<char> unk_token_;  // for a message
  Normalizer normalizer_;
  CharKind kinds_[256];  // of ASCII characters; other bytes say no kind
  AddedTokens verbatim_, normalized_;
};

}  // namespace sqz

#endif  // SQZ_TEXT_TOKENIZER_H_
