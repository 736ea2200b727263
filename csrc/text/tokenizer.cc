#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "memory.h"
#include "text/utf8.h"

namespace sqz {

namespace {

sqz_status no_memory(const char *name) { return fail(SQZ_NO_MEMORY, "%s: expected memory for it, got none", name); }

sqz_status check_utf8(const char *name, const sqz_text &text, bool surrogates, bool *ascii) {
  const int64_t at = find_invalid(bytes_of(text), text.size, surrogates, ascii);
  if (at == text.size) return SQZ_OK;
  return fail(SQZ_INVALID, "%s: expected UTF-8, got byte 0x%02x at %lld", name, bytes_of(text)[at], (long long)at);
}

// A form and its place among the records.
struct Form {
  sqz_text text;
  int64_t record;
};

int compare(const uint8_t *a, int64_t a_size, const uint8_t *b, int64_t b_size) {
  const int order = a_size && b_size ? memcmp(a, b, static_cast<size_t>(a_size < b_size ? a_size : b_size)) : 0;
  return order ? order : (a_size > b_size) - (a_size < b_size);
}

int compare_forms(const void *a, const void *b) {
  const Form &x = *static_cast<const Form *>(a), &y = *static_cast<const Form *>(b);
  const int order = compare(bytes_of(x.text), x.text.size, bytes_of(y.text), y.text.size);
  return order ? order : (x.record > y.record) - (x.record < y.record);
}

bool same(const sqz_text &a, const sqz_text &b) { return compare(bytes_of(a), a.size, bytes_of(b), b.size) == 0; }

}  // namespace

bool AddedTokens::fill(const Record *records, const sqz_text *forms, int64_t count) {
  Buffer<Form> sorted;
  for (int64_t i = 0; i < count; ++i)
    if (forms[i].size > 0 && !sorted.push({forms[i], i})) return false;
  if (sorted.size() == 0) return true;
  qsort(sorted.data(), static_cast<size_t>(sorted.size()), sizeof(Form), compare_forms);
  Buffer<uint8_t> bytes;
  Buffer<int32_t> offsets;
  for (int64_t i = 0; i < sorted.size(); ++i) {
    const Form &form = sorted[i];
    if (i + 1 < sorted.size() && same(form.text, sorted[i + 1].text)) continue;
    if (form.text.size > INT32_MAX - bytes.size() || !offsets.push(static_cast<int32_t>(bytes.size())) ||
        !bytes.append(bytes_of(form.text), form.text.size) || !records_.push(records[form.record]))
      return false;
    begins_[bytes_of(form.text)[0]] = true;
  }
  if (!offsets.push(static_cast<int32_t>(bytes.size()))) return false;
  if (!set_.fill(bytes.data(), offsets.data(), static_cast<int32_t>(records_.size()))) return false;
  root_ = set_.root(nullptr, 0);
  only_begin_ = set_.bytes(0)[0] == set_.bytes(set_.count() - 1)[0] ? set_.bytes(0)[0] : -1;
  return true;
}

template <class Part>
bool AddedTokens::split(const uint8_t *text, int64_t size, const Part &part) const {
  int64_t done = 0;
  int64_t spaces = 0, spaces_end = 0;  // white space that was seen after a token: it is not looked at twice
  for (int64_t at = 0; at < size && !empty();) {
    int64_t taken = 0;
    if (only_begin_ >= 0) {
      const void *found = memchr(text + at, only_begin_, static_cast<size_t>(size - at));
      if (!found) break;
      at = static_cast<const uint8_t *>(found) - text;
    }
    const int32_t token = begins_[text[at]] ? set_.longest(root_, text + at, text + size, &taken) : -1;
    if (token < 0) {
      ++at;
      continue;
    }
    const Record &record = records_[token];
    int64_t begin = at, end = at + taken;
    at = end;
    if (record.single_word &&
        ((begin > 0 && is_word_char(decode_before(text + begin))) || (end < size && is_word_char(decode(text + end)))))
      continue;
    while (record.lstrip && begin > done) {
      const uint32_t c = decode_before(text + begin);
      if (kind_of(c) != CharKind::kSpace) break;
      do --begin;
      while (is_continuation(text[begin]));
    }
    if (record.rstrip && end >= spaces && end < spaces_end) {
      end = spaces_end;
    } else if (record.rstrip) {
      spaces = end;
      while (end < size && kind_of(decode(text + end)) == CharKind::kSpace) end += utf8_size(text[end]);
      spaces_end = end;
    }
    if (done < begin && !part(done, begin, nullptr)) return false;
    if (!part(begin, end, &record)) return false;
    done = end;
  }
  return done >= size || part(done, size, nullptr);
}

// ---- one text ----------------------------------------------------------------------------------------------------

class Encoder {
 public:
  Encoder(const Tokenizer &tokenizer, const char *name, const sqz_text &text, bool ascii, bool count_bytes,
          Buffer<Token> *tokens)
      : tokenizer_(tokenizer),
        name_(name),
        text_(bytes_of(text)),
        size_(text.size),
        as_bytes_(ascii || count_bytes),
        count_bytes_(count_bytes),
        tokens_(*tokens) {}

  sqz_status run() {
    tokenizer_.verbatim_.split(text_, size_, [this](int64_t begin, int64_t end, const AddedTokens::Record *added) {
      return added ? push(added->id, place(begin), place(end), word_++) : chunk(begin, end);
    });
    return status_;
  }

 private:
  using Added = const AddedTokens::Record *;

  // Between added tokens that match the text.
  bool chunk(int64_t begin, int64_t end) {
    base_ = begin;
    base_place_ = place(begin);
    if (status_ || !tokenizer_.normalizer_.run(text_ + begin, end - begin, count_bytes_, &normal_)) return lost();
    return tokenizer_.normalized_.split(normal_.bytes.data(), normal_.bytes.size(),
                                        [this](int64_t from, int64_t to, Added added) {
                                          if (added) return push(added->id, begin_of(from), end_of(to), word_++);
                                          return words(from, to);
                                        });
  }

  // Of a normalised text.
  bool words(int64_t from, int64_t to) {
    const uint8_t *text = normal_.bytes.data();
    const CharKind *kinds = tokenizer_.kinds_;
    for (int64_t at = from; at < to;) {
      const int64_t word = at;
      int64_t chars = 0;
      CharKind kind = CharKind::kLetter;
      while (at < to) {
        kind = kinds[text[at]];
        if (kind == CharKind::kOther) kind = kind_of(decode(text + at));
        if (kind != CharKind::kLetter) break;
        at += text[at] < 0x80 ? 1 : utf8_size(text[at]);
        ++chars;
      }
      if (at > word && !pieces(word, at, chars)) return false;
      if (at == to) break;
      const int64_t mark = at;
      at += utf8_size(text[at]);
      if (kind == CharKind::kPunctuation && !pieces(mark, at, 1)) return false;
    }
    return true;
  }

  // Of a word: the longest token that it begins with, the longest one that continues it, and so on.
  bool pieces(int64_t from, int64_t to, int64_t chars) {
    const Tokenizer &t = tokenizer_;
    const int32_t word = word_++;
    if (chars <= t.max_chars_) {
      const uint8_t *text = normal_.bytes.data();
      const int64_t before = tokens_.size();
      const TokenSet::Root *root = &t.start_;
      int64_t at = from, taken = 0;
      while (at < to) {
        const int32_t token = t.vocabulary_.longest(*root, text + at, text + to, &taken);
        if (token < 0) break;
        if (!push(t.ids_[token], begin_of(at), end_of(at + taken), word)) return false;
        at += taken;
        root = &t.inside_;
      }
      if (at == to) return true;
      tokens_.set_size(before);
    }
    if (t.unk_id_ >= 0) return push(t.unk_id_, begin_of(from), end_of(to), word);
    constexpr int64_t kShown = 40;
    int64_t shown = to - from;
    if (shown > kShown) {
      shown = kShown;
      while (is_continuation(normal_.bytes[from + shown])) --shown;
    }
    status_ =
        fail(SQZ_INVALID, "%s: expected words of the vocabulary, which has no '%s', got '%.*s%s'", name_,
             t.unk_token_.data(), static_cast<int>(shown), normal_.bytes.data() + from, shown < to - from ? "..." : "");
    return false;
  }

  bool push(int32_t id, int32_t begin, int32_t end, int32_t word) {
    return tokens_.push({id, begin, end, word}) || lost();
  }
  bool lost() {
    status_ = no_memory(name_);
    return false;
  }

  // The place that offsets have for a byte of the text.
  int32_t place(int64_t byte) {
    if (as_bytes_ || byte == 0) return static_cast<int32_t>(byte);
    if (places_.size() == 0) {
      if (!places_.reserve(size_ + 1)) {
        lost();
        return 0;
      }
      int32_t count = 0;
      for (int64_t i = 0; i < size_; ++i) {
        places_.push(count);
        count += i + 1 == size_ || !is_continuation(text_[i + 1]);
      }
      places_.push(count);
    }
    return places_[byte];
  }
  // The place where the part of the text begins, or ends, that a part of the normalised text came from.
  int32_t begin_of(int64_t from) const {
    const Buffer<int32_t> &origin = normal_.origin;
    return base_place_ + (origin.size() ? origin[from] : static_cast<int32_t>(from));
  }
  int32_t end_of(int64_t to) const {
    if (normal_.origin.size() == 0) return base_place_ + static_cast<int32_t>(to);
    const int32_t last = normal_.origin[to - 1];
    return base_place_ + last + (count_bytes_ ? utf8_size(text_[base_ + last]) : 1);
  }

  const Tokenizer &tokenizer_;
  const char *const name_;
  const uint8_t *const text_;
  const int64_t size_;
  const bool as_bytes_, count_bytes_;
  Buffer<Token> &tokens_;
  Normalized normal_;
  Buffer<int32_t> places_;
  int64_t base_ = 0;
  int32_t base_place_ = 0, word_ = 0;
  sqz_status status_ = SQZ_OK;
};

// ---- the tokenizer -----------------------------------------------------------------------------------------------

const HandleType Tokenizer::kHandle = {"tokenizer", [](void *object) {
                                         static_cast<Tokenizer *>(object)->~Tokenizer();
                                         deallocate(object);
                                       }};

sqz_status Tokenizer::fill(const sqz_tokenizer_args &args) {
  bool ascii;
  SQZ_TRY(check_utf8("continuing_subword_prefix", args.continuing_subword_prefix, true, &ascii));
  SQZ_TRY(check_utf8("unk_token", args.unk_token, true, &ascii));
  SQZ_TRY(fill_vocabulary(args));
  const sqz_text &prefix = args.continuing_subword_prefix, &unk = args.unk_token;
  start_ = vocabulary_.root(nullptr, 0);
  inside_ = vocabulary_.root(bytes_of(prefix), prefix.size);
  const int32_t found = vocabulary_.find(bytes_of(unk), unk.size);
  unk_id_ = found < 0 ? -1 : ids_[found];
  if (!unk_token_.append(unk.data, unk.size) || !unk_token_.push('\0')) return no_memory("unk_token");
  max_chars_ = args.max_input_chars_per_word;
  max_length = args.max_length;
  truncation_side = args.truncation_side;
  if (!templates[0].append(args.single, args.single_count) || !templates[1].append(args.pair, args.pair_count))
    return no_memory("single");
  normalizer_ = Normalizer(args.clean_text, args.handle_chinese_chars, args.strip_accents, args.lowercase);
  for (uint32_t c = 0; c < 256; ++c) kinds_[c] = c < 0x80 ? kind_of(c) : CharKind::kOther;
  return fill_added(args);
}

sqz_status Tokenizer::fill_vocabulary(const sqz_tokenizer_args &args) {
  constexpr const char *kOffsets = "vocab_offsets", *kBytes = "vocab_bytes";
  const int64_t count = args.vocab_size;
  const int32_t none = 0;
  // Copies: the caller may not change them any more once they are checked.
  Buffer<int32_t> offsets;
  if (!offsets.append(count ? args.vocab_offsets : &none, count + 1)) return no_memory(kOffsets);
  if (!ids_.append(args.vocab_ids, count)) return no_memory("vocab_ids");
  if (offsets[0] != 0) return fail(SQZ_INVALID, "%s: expected 0 at first, got %d", kOffsets, offsets[0]);
  for (int64_t k = 0; k < count; ++k) {
    if (offsets[k] > offsets[k + 1])
      return fail(SQZ_INVALID, "%s: expected ascending numbers, got %d after %d", kOffsets, offsets[k + 1], offsets[k]);
    if (ids_[k] < 0) return fail(SQZ_INVALID, "vocab_ids: expected ids >= 0, got %d", ids_[k]);
  }
  if (!args.vocab_bytes && offsets[count] > 0) return fail(SQZ_INVALID, "%s: expected a pointer, got NULL", kBytes);
  if (!vocabulary_.fill(reinterpret_cast<const uint8_t *>(args.vocab_bytes), offsets.data(),
                        static_cast<int32_t>(count)))
    return no_memory(kBytes);
  for (int32_t k = 0; k < count; ++k) {
    const uint8_t *token = vocabulary_.bytes(k);
    const int32_t size = vocabulary_.length(k);
    bool ascii;
    if (find_invalid(token, size, true, &ascii) != size)
      return fail(SQZ_INVALID, "%s: expected tokens in UTF-8, got another one at %d", kBytes, k);
    if (k && compare(vocabulary_.bytes(k - 1), vocabulary_.length(k - 1), token, size) >= 0)
      return fail(SQZ_INVALID, "%s: expected tokens in ascending order, each once, got another order at %d", kBytes, k);
  }
  return SQZ_OK;
}

sqz_status Tokenizer::fill_added(const sqz_tokenizer_args &args) {
  constexpr const char *kName = "added";
  Buffer<AddedTokens::Record> records[2];
  Buffer<sqz_text> forms[2];
  Buffer<uint8_t> bytes;  // of normalised forms; until all are there, data is a place
  for (int64_t i = 0; i < args.added_count; ++i) {
    const sqz_added_token &token = args.added[i];
    char name[40];
    snprintf(name, sizeof name, "added[%lld].content", (long long)i);
    bool ascii;
    SQZ_TRY(check_utf8(name, token.content, true, &ascii));
    if (token.special && args.split_special_tokens) continue;
    const int kind = token.normalized != 0;
    sqz_text form = token.content;
    if (kind) {
      Normalized normal;
      if (!normalizer_.run(bytes_of(form), form.size, false, &normal)) return no_memory(kName);
      form = {nullptr, normal.bytes.size()};
      if (!bytes.append(normal.bytes.data(), form.size)) return no_memory(kName);
    }
    if (!forms[kind].push(form) ||
        !records[kind].push({token.id, token.single_word != 0, token.lstrip != 0, token.rstrip != 0}))
      return no_memory(kName);
  }
  const char *place = reinterpret_cast<const char *>(bytes.data());
  for (sqz_text &form : forms[1]) {
    form.data = place;
    place += form.size;
  }
  if (!verbatim_.fill(records[0].data(), forms[0].data(), forms[0].size()) ||
      !normalized_.fill(records[1].data(), forms[1].data(), forms[1].size()))
    return no_memory(kName);
  return SQZ_OK;
}

sqz_status Tokenizer::encode(const char *name, const sqz_text &text, bool surrogates, bool count_bytes,
                             Tokens *tokens) const {
  bool ascii;
  SQZ_TRY(check_utf8(name, text, surrogates, &ascii));
  SQZ_TRY(Encoder(*this, name, text, ascii, count_bytes, &tokens->list).run());
  tokens->last = tokens->list.size();
  return SQZ_OK;
}

}  // namespace sqz
