// Texts to a model: its tokenizer, from the settings in its file, and classification.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/call.h"
#include "model/model.h"
#include "text/buffer.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "threading/float_environment.h"

namespace sqz::model {

namespace {

enum Special { kUnk, kCls, kSep, kPad, kMask, kSpecialCount };
constexpr const char *kDefaultTokens[kSpecialCount] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"};

sqz_status no_memory() { return fail(SQZ_NO_MEMORY, "tokenizer: expected memory, got none"); }

sqz_text text_of(const Chars &chars) { return {chars.p, chars.n}; }

// Limits of files, as in squeezebert/files/limits.py.
constexpr int kMaxWord = 256, kMaxPieces = 64, kMaxAdded = 20000, kMaxAddedLength = 256;

// A token of a vocab.txt, and its line.
struct Line {
  const char *p;
  int32_t n, id;
};

int by_bytes(const void *a, const void *b) {
  const Line &x = *static_cast<const Line *>(a), &y = *static_cast<const Line *>(b);
  const int order = memcmp(x.p, y.p, static_cast<size_t>(x.n < y.n ? x.n : y.n));
  if (order || x.n != y.n) return order ? order : x.n < y.n ? -1 : 1;
  return x.id < y.id ? -1 : 1;
}

// Fills the arguments of sqz_tokenizer_create(), as Tokenizer.from_pretrained does. What it points to are the model's
// texts and tensors, copies of texts that are parsed, and its own arrays.
class TokenizerReader {
 public:
  explicit TokenizerReader(const Model &model) : m_(model) {
    a_.size = sizeof a_;
    a_.lowercase = a_.handle_chinese_chars = a_.clean_text = 1;
    a_.continuing_subword_prefix = {"##", 2};
    a_.max_input_chars_per_word = 100;
    for (int i = 0; i < kSpecialCount; ++i)
      tokens_[i] = {kDefaultTokens[i], static_cast<int64_t>(strlen(kDefaultTokens[i]))};
  }

  sqz_status create(sqz_tokenizer *to) {
    SQZ_TRY(m_.contents.version > 1 ? read_settings() : read_files());
    a_.unk_token = tokens_[kUnk];
    SQZ_TRY(add_specials());
    SQZ_TRY(fill_templates());
    a_.added = added_.data(), a_.added_count = added_.size();
    a_.single = templates_[0].data(), a_.single_count = templates_[0].size();
    a_.pair = templates_[1].data(), a_.pair_count = templates_[1].size();
    SQZ_TRY(sqz_tokenizer_create(&a_));
    *to = a_.tokenizer;
    return SQZ_OK;
  }

 private:
  // A copy, because parsing overwrites, and other threads may parse the same text.
  sqz_status copy(TextKey key, Chars *to) {
    const Chars &from = m_.contents.texts[key];
    *to = {arena_.take<char>(from.n + 1), from.n};
    if (!to->p) return no_memory();
    memcpy(to->p, from.p, static_cast<size_t>(from.n));
    return SQZ_OK;
  }

  // ---- version 2 ----

  sqz_status read_settings() {
    enum {
      kLower,
      kStrip,
      kChinese,
      kClean,
      kSplit,
      kFlags,
      kFirstToken = kFlags,
      kMaxLength = kFirstToken + 5,
      kPrefix,
      kMaxChars,
      kAdded,
      kSide,
      kSingle,
      kPair,
      kCount
    };
    constexpr const char *kNames[kCount] = {"lowercase",
                                            "strip_accents",
                                            "handle_chinese_chars",
                                            "clean_text",
                                            "split_special_tokens",
                                            "unk_token",
                                            "cls_token",
                                            "sep_token",
                                            "pad_token",
                                            "mask_token",
                                            "max_length",
                                            "continuing_subword_prefix",
                                            "max_input_chars_per_word",
                                            "added_tokens",
                                            "truncation_side",
                                            "single",
                                            "pair"};
    int32_t *const flags[kFlags] = {&a_.lowercase, &a_.strip_accents, &a_.handle_chinese_chars, &a_.clean_text,
                                    &a_.split_special_tokens};
    SQZ_CHECK(m_.contents.texts[kTokenizer].p, "tokenizer: expected a model with a vocabulary, got one without");
    SQZ_TRY(read_vocabulary());
    Chars text, values[kCount], word;
    SQZ_TRY(copy(kTokenizer, &text));
    SQZ_TRY(fields("tokenizer", text, kCount, kNames, values));
    for (int i = 0; i < kFlags; ++i) {
      bool flag;
      if (!values[i].p || (i == kStrip && absent(values[i]))) continue;
      if (!boolean(values[i], &flag)) return bad(kNames[i], "true or false", values[i]);
      *flags[i] = flag;
    }
    if (absent(values[kStrip])) a_.strip_accents = a_.lowercase;
    for (int i = 0; i < kSpecialCount; ++i) {
      const Chars &value = values[kFirstToken + i];
      if (!value.p) continue;
      if (absent(value) && i != kUnk) {
        tokens_[i] = {nullptr, 0};
      } else if (decode(value, &word)) {
        tokens_[i] = text_of(word);
      } else {
        return bad(kNames[kFirstToken + i], "a string", value);
      }
    }
    if (values[kPrefix].p) {
      if (!decode(values[kPrefix], &word)) return bad(kNames[kPrefix], "a string", values[kPrefix]);
      a_.continuing_subword_prefix = text_of(word);
    }
    if (values[kSide].p) {
      if (!decode(values[kSide], &word) || !(same(word, "left") || same(word, "right")))
        return bad(kNames[kSide], "'left' or 'right'", values[kSide]);
      a_.truncation_side = same(word, "left") ? SQZ_SIDE_LEFT : SQZ_SIDE_RIGHT;
    }
    if (!absent(values[kMaxLength]) && !(integer(values[kMaxLength], &a_.max_length) && a_.max_length >= 1))
      return bad(kNames[kMaxLength], "a number of at least 1, or null", values[kMaxLength]);
    if (values[kMaxChars].p && !(integer(values[kMaxChars], &a_.max_input_chars_per_word) &&
                                 a_.max_input_chars_per_word >= 0 && a_.max_input_chars_per_word <= kMaxWord))
      return bad(kNames[kMaxChars], "a number from 0 to 256", values[kMaxChars]);
    if (!absent(values[kAdded])) SQZ_TRY(read_added(values[kAdded]));
    for (int i = 0; i < 2; ++i)
      if (values[kSingle + i].p) SQZ_TRY(read_template(values[kSingle + i], i));
    return SQZ_OK;
  }

  static sqz_status bad(const char *name, const char *expected, const Chars &got) {
    return fail(SQZ_INVALID, "tokenizer: %s: expected %s, got %s", name, expected, Shown(got).s);
  }

  // The tensors, used in place; sqz_tokenizer_create() checks their contents.
  sqz_status read_vocabulary() {
    constexpr const char *kNames[] = {"vocab.bytes", "vocab.offsets", "vocab.ids"};
    const Tensor *t[3];
    for (int i = 0; i < 3; ++i) {
      t[i] = m_.contents.find(kNames[i]);
      SQZ_CHECK(t[i] && t[i]->stored == (i ? Stored::i32 : Stored::u8) && t[i]->rank == 1,
                "%s: expected %s with one axis, got %s", kNames[i], i ? "I32" : "U8", t[i] ? "others" : "none");
      SQZ_CHECK(i == 0 || t[i]->bytes == 0 || reinterpret_cast<uintptr_t>(t[i]->data) % 4 == 0,
                "%s: expected an offset that is a multiple of 4, got %lld", kNames[i], (long long)t[i]->offset);
    }
    const int64_t count = t[2]->shape[0], bytes = t[0]->bytes;
    SQZ_CHECK(t[1]->shape[0] == count + 1 && count < INT32_MAX && bytes <= INT32_MAX,
              "vocab.offsets: expected %lld numbers, one more than vocab.ids, got %lld", (long long)count + 1,
              (long long)t[1]->shape[0]);
    // A copy, because another process may write to the file: from here on they lead to places in vocab.bytes.
    int32_t *offsets = arena_.take<int32_t>(count + 1);
    if (!offsets) return no_memory();
    memcpy(offsets, t[1]->data, static_cast<size_t>(t[1]->bytes));
    bool good = offsets[0] == 0 && offsets[count] == bytes;
    for (int64_t i = 0; i < count; ++i) good = good && offsets[i] <= offsets[i + 1];
    SQZ_CHECK(good, "vocab.offsets: expected numbers that ascend from 0 to %lld, the bytes of vocab.bytes, got others",
              (long long)bytes);
    a_.vocab_bytes = t[0]->data, a_.vocab_offsets = offsets;
    a_.vocab_ids = reinterpret_cast<const int32_t *>(t[2]->data), a_.vocab_size = count;
    return SQZ_OK;
  }

  sqz_status read_added(const Chars &list) {
    constexpr const char *kNames[] = {"content", "id", "single_word", "lstrip", "rstrip", "normalized", "special"};
    Members all("tokenizer: added_tokens", list, '[');
    Chars item, values[7], content;
    while (all.next(&item, &item)) {
      SQZ_TRY(fields("tokenizer: added_tokens", item, 7, kNames, values));
      sqz_added_token token = {};
      int64_t id = -1;
      bool flags[5] = {};
      bool good = decode(values[0], &content) && integer(values[1], &id) && id >= 0 && id <= INT32_MAX;
      for (int i = 0; i < 5; ++i) good = good && (!values[2 + i].p || boolean(values[2 + i], &flags[i]));
      if (!good) return bad("added_tokens", "objects with a content, an id and flags", item);
      int64_t characters = 0;
      for (int64_t i = 0; i < content.n; ++i) characters += !is_continuation(static_cast<uint8_t>(content.p[i]));
      SQZ_CHECK(added_.size() < kMaxAdded && characters <= kMaxAddedLength,
                "tokenizer: added_tokens: expected at most %d tokens of at most %d characters, got more", kMaxAdded,
                kMaxAddedLength);
      token.content = text_of(content), token.id = static_cast<int32_t>(id);
      token.single_word = flags[0], token.lstrip = flags[1], token.rstrip = flags[2], token.normalized = flags[3];
      token.special = flags[4];
      const int32_t known = id_of(token.content);
      SQZ_CHECK(known < 0 || known == token.id, "tokenizer: added_tokens: expected id %d for %s, got %d", known,
                Shown(content).s, token.id);
      if (!added_.push(token)) return no_memory();
    }
    lists_added_ = true;
    return all.status();
  }

  sqz_status read_template(const Chars &list, int which) {
    const char *const name = which ? "pair" : "single";
    Members all(name, list, '[');
    Chars item, value, word;
    while (all.next(&item, &item)) {
      Members parts(name, item, '[');
      int64_t numbers[2] = {-1, -1};
      int n = 0;
      for (; parts.next(&value, &value); ++n) {
        bool good = n < 2;
        if (good && n == 0 && decode(value, &word)) {
          good = same(word, "A") || same(word, "B");
          numbers[0] = same(word, "B") ? SQZ_SECOND_TEXT : SQZ_FIRST_TEXT;
        } else {
          good = good && integer(value, &numbers[n]) && numbers[n] >= 0 && numbers[n] <= INT32_MAX;
        }
        if (!good) return bad(name, "pairs of \"A\", \"B\" or an id, and a token type", item);
      }
      SQZ_TRY(parts.status());
      if (n != 2) return bad(name, "pairs of \"A\", \"B\" or an id, and a token type", item);
      SQZ_CHECK(templates_[which].size() < kMaxPieces, "%s: expected at most %d pieces, got more", name, kMaxPieces);
      if (!templates_[which].push({static_cast<int32_t>(numbers[0]), static_cast<int32_t>(numbers[1])}))
        return no_memory();
    }
    has_template_[which] = true;
    return all.status();
  }

  // ---- version 1 ----

  sqz_status read_files() {
    for (const TextKey key : {kTokenizerJson, kSpecialTokens, kAddedTokens})
      SQZ_CHECK(!m_.contents.texts[key].p,
                "%s: expected a file of version 2 for such a tokenizer, got version 1: convert "
                "it anew",
                kTextNames[key]);
    SQZ_CHECK(m_.contents.texts[kVocabulary].p, "vocab.txt: expected a model with a vocabulary, got one without");
    SQZ_TRY(read_lines());
    Chars tokenizer_class = m_.config.tokenizer_class;
    if (m_.contents.texts[kTokenizerConfig].p) SQZ_TRY(read_tokenizer_config(&tokenizer_class));
    SQZ_TRY(check_class(tokenizer_class));
    without_types_ = begins(tokenizer_class, "DistilBert");
    return SQZ_OK;
  }

  sqz_status check_class(Chars name) {
    if (!name.p) return SQZ_OK;
    if (name.n > 4 && memcmp(name.p + name.n - 4, "Fast", 4) == 0) name.n -= 4;
    for (const char *known : {"BertTokenizer", "SqueezeBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
                              "MobileBertTokenizer", "ConvBertTokenizer"})
      if (same(name, known)) return SQZ_OK;
    return fail(SQZ_INVALID, "tokenizer_class: expected one that uses a vocab.txt as BERT does, got %s", Shown(name).s);
  }

  sqz_status read_tokenizer_config(Chars *tokenizer_class) {
    enum {
      kLower,
      kChinese,
      kStrip,
      kBasic,
      kFirstToken,
      kLength = kFirstToken + 5,
      kOldLength,
      kClass,
      kSide,
      // Not implemented for version 1, unless they have no value.
      kInputNames,
      kDecoder,
      kExtra,
      kAdditional,
      kBos,
      kEos,
      kWordType,
      kSubwordType,
      kSplit,
      kCount
    };
    constexpr const char *kNames[kCount] = {"do_lower_case",
                                            "tokenize_chinese_chars",
                                            "strip_accents",
                                            "do_basic_tokenize",
                                            "unk_token",
                                            "cls_token",
                                            "sep_token",
                                            "pad_token",
                                            "mask_token",
                                            "model_max_length",
                                            "max_len",
                                            "tokenizer_class",
                                            "truncation_side",
                                            "model_input_names",
                                            "added_tokens_decoder",
                                            "extra_special_tokens",
                                            "additional_special_tokens",
                                            "bos_token",
                                            "eos_token",
                                            "word_tokenizer_type",
                                            "subword_tokenizer_type",
                                            "split_special_tokens"};
    Chars text, values[kCount], word;
    SQZ_TRY(copy(kTokenizerConfig, &text));
    SQZ_TRY(fields(kTextNames[kTokenizerConfig], text, kCount, kNames, values));
    const auto refuse = [&](int i) {
      return fail(SQZ_INVALID,
                  "%s: %s: expected a file of version 2 for this value, got version 1 with %s: convert it "
                  "anew",
                  kTextNames[kTokenizerConfig], kNames[i], Shown(values[i]).s);
    };
    for (int i = kInputNames; i < kCount; ++i)
      if (!falsy(values[i])) return refuse(i);
    bool flags[4] = {true, true, true, true};
    for (int i = 0; i < 4; ++i)
      if (values[i].p && !(i == kStrip && absent(values[i])) && !boolean(values[i], &flags[i])) return refuse(i);
    if (!flags[kBasic]) return refuse(kBasic);
    a_.lowercase = flags[kLower], a_.handle_chinese_chars = flags[kChinese];
    a_.strip_accents = absent(values[kStrip]) ? flags[kLower] : flags[kStrip];
    for (int i = 0; i < kSpecialCount; ++i) {
      const Chars &value = values[kFirstToken + i];
      if (!value.p) continue;
      if (absent(value) && (i == kPad || i == kMask)) {
        tokens_[i] = {nullptr, 0};
      } else if (!absent(value)) {
        if (!decode(value, &word) || word.n == 0) return refuse(kFirstToken + i);
        tokens_[i] = text_of(word);
      }
    }
    const int length = values[kLength].p ? kLength : kOldLength;
    double number;
    if (!absent(values[length])) {
      if (!real(values[length], &number) || !(number >= 1)) return refuse(length);
      if (number < 2147483648.0) {  // transformers writes 1e30 for a model without a limit
        a_.max_length = static_cast<int64_t>(number);
        if (static_cast<double>(a_.max_length) != number) return refuse(length);
      }
    }
    if (!absent(values[kClass]) && !decode(values[kClass], tokenizer_class)) return refuse(kClass);
    if (values[kSide].p) {
      if (!decode(values[kSide], &word) || !(same(word, "left") || same(word, "right"))) return refuse(kSide);
      a_.truncation_side = same(word, "left") ? SQZ_SIDE_LEFT : SQZ_SIDE_RIGHT;
    }
    return SQZ_OK;
  }

  // One token per line, without the spaces at its end. Of equal tokens, the last one counts.
  sqz_status read_lines() {
    const Chars &text = m_.contents.texts[kVocabulary];
    SQZ_CHECK(text.n < INT32_MAX, "vocab.txt: expected fewer than 2^31 bytes, got %lld", (long long)text.n);
    int64_t count = 1;
    const int64_t end = text.n && text.p[text.n - 1] == '\n' ? text.n - 1 : text.n;
    for (int64_t i = 0; i < end; ++i) count += text.p[i] == '\n';
    Line *lines = arena_.take<Line>(count);
    int32_t *offsets = arena_.take<int32_t>(count + 1), *ids = arena_.take<int32_t>(count);
    char *bytes = arena_.take<char>(text.n + 1);
    if (!lines || !offsets || !ids || !bytes) return no_memory();
    for (int64_t i = 0, begin = 0; i < count; ++i) {
      int64_t stop = begin;
      while (stop < end && text.p[stop] != '\n') ++stop;
      const auto *p = reinterpret_cast<const uint8_t *>(text.p + begin);
      lines[i] = {text.p + begin, static_cast<int32_t>(without_spaces(p, stop - begin)), static_cast<int32_t>(i)};
      begin = stop + 1;
    }
    qsort(lines, static_cast<size_t>(count), sizeof *lines, by_bytes);
    int64_t unique = 0;
    int32_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Line &line = lines[i];
      if (i + 1 < count && lines[i + 1].n == line.n && memcmp(line.p, lines[i + 1].p, static_cast<size_t>(line.n)) == 0)
        continue;
      memcpy(bytes + at, line.p, static_cast<size_t>(line.n));
      ids[unique] = line.id;
      at += line.n;
      offsets[++unique] = at;
    }
    a_.vocab_bytes = bytes, a_.vocab_offsets = offsets, a_.vocab_ids = ids, a_.vocab_size = unique;
    return SQZ_OK;
  }

  static int64_t without_spaces(const uint8_t *p, int64_t n) {
    while (n > 0) {
      int64_t begin = n - 1;
      while (begin > 0 && is_continuation(p[begin])) --begin;
      if (kind_of(sqz::decode(p + begin)) != CharKind::kSpace) break;
      n = begin;
    }
    return n;
  }

  // ---- both ----

  // The id of a token in the vocabulary; -1 if it has none.
  int32_t id_of(const sqz_text &token) const {
    int64_t low = 0, high = a_.vocab_size;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      const int64_t begin = a_.vocab_offsets[middle], n = a_.vocab_offsets[middle + 1] - begin;
      int order = n && token.size
                      ? memcmp(a_.vocab_bytes + begin, token.data, static_cast<size_t>(n < token.size ? n : token.size))
                      : 0;
      if (!order) order = (n > token.size) - (n < token.size);
      if (!order) return a_.vocab_ids[middle];
      (order < 0 ? low : high) = order < 0 ? middle + 1 : middle;
    }
    return -1;
  }

  int32_t added_id(const sqz_text &token) const {
    for (const sqz_added_token &a : added_)
      if (a.content.size == token.size && memcmp(a.content.data, token.data, static_cast<size_t>(token.size)) == 0)
        return a.id;
    return -1;
  }

  // Special tokens of the vocabulary are matched in texts, unless the file lists what is. Those that texts may do
  // without get the next ids.
  sqz_status add_specials() {
    int64_t free = a_.vocab_size;
    const auto add = [&](int i, int64_t id) {
      sqz_added_token token = {};
      token.content = tokens_[i], token.id = static_cast<int32_t>(id), token.special = 1;
      return added_.push(token) ? SQZ_OK : no_memory();
    };
    for (int i = 0; i < kSpecialCount && !lists_added_; ++i) {
      const int32_t id = tokens_[i].data ? id_of(tokens_[i]) : -1;
      if (id >= 0) SQZ_TRY(add(i, id));
    }
    for (const sqz_added_token &token : added_)
      if (token.id >= free) free = int64_t{token.id} + 1;
    for (const int i : {kUnk, kPad, kMask}) {
      if (!tokens_[i].data || (i == kUnk && lists_added_)) continue;
      if (added_id(tokens_[i]) >= 0 || id_of(tokens_[i]) >= 0) continue;
      SQZ_CHECK(free <= INT32_MAX, "tokenizer: expected ids below 2^31, got no free one");
      SQZ_TRY(add(i, free++));
    }
    return SQZ_OK;
  }

  bool is_id(int32_t id) const {
    for (int64_t i = 0; i < a_.vocab_size; ++i)
      if (a_.vocab_ids[i] == id) return true;
    for (const sqz_added_token &a : added_)
      if (a.id == id) return true;
    return false;
  }

  sqz_status fill_templates() {
    for (const auto &parts : templates_)
      for (const sqz_template_part &part : parts)
        SQZ_CHECK(part.id < 0 || is_id(part.id), "tokenizer: %s: expected \"A\", \"B\" or the id of a token, got %d",
                  &parts == templates_ ? "single" : "pair", part.id);
    int32_t ends[2] = {-1, -1};
    for (int i = 0; i < 2; ++i) {
      const sqz_text &token = tokens_[i ? kSep : kCls];
      if (token.data) ends[i] = id_of(token) >= 0 ? id_of(token) : added_id(token);
      if (!token.data && has_template_[0] && has_template_[1]) continue;
      SQZ_CHECK(ends[i] >= 0, "tokenizer: expected the special tokens of each text in the vocabulary, got none for %s",
                i ? "[SEP]" : "[CLS]");
    }
    const int32_t second = !without_types_;
    const sqz_template_part all[] = {
        {ends[0], 0}, {SQZ_FIRST_TEXT, 0}, {ends[1], 0}, {SQZ_SECOND_TEXT, second}, {ends[1], second}};
    for (int i = 0; i < 2; ++i)
      if (!has_template_[i] && !templates_[i].append(all, i ? 5 : 3)) return no_memory();
    return SQZ_OK;
  }

  const Model &m_;
  Arena arena_;
  sqz_tokenizer_args a_ = {};
  sqz_text tokens_[kSpecialCount];
  Buffer<sqz_added_token> added_;
  Buffer<sqz_template_part> templates_[2];
  bool lists_added_ = false, has_template_[2] = {}, without_types_ = false;
};

bool blank(const sqz_text &text) {
  const auto *p = reinterpret_cast<const uint8_t *>(text.data);
  for (int64_t i = 0; i < text.size; i += utf8_size(p[i]))
    if (kind_of(sqz::decode(p + i)) != CharKind::kSpace) return false;
  return true;
}

// The ids of a text or a pair, as the model takes them.
struct Encoded {
  Arena arena;
  const int64_t *ids = nullptr, *types = nullptr;
  int64_t count = 0;

  sqz_status encode(const Model &m, const sqz_model_classify_args &a) {
    const int64_t most = longest_of(m);
    sqz_tokenizer_encode_args e = {};
    e.size = sizeof e;
    SQZ_TRY(tokenizer_of(m, &e.tokenizer));
    e.text = a.text, e.pair = a.pair;
    if (a.truncate) {
      const int64_t own = Held<Tokenizer>(e.tokenizer)->max_length;
      e.truncation = SQZ_TRUNCATE_LONGEST_FIRST;
      e.max_length = own && own < most ? own : most;
    }
    e.capacity = 128;
    sqz_status status = SQZ_NEEDS_OUT;
    for (int tries = 0; tries < 2 && status == SQZ_NEEDS_OUT; ++tries) {
      SQZ_CHECK(e.capacity <= most || tries == 0, "text: expected at most %lld tokens, got %lld", (long long)most,
                (long long)e.count);
      e.ids = arena.take<int32_t>(e.capacity), e.type_ids = arena.take<int32_t>(e.capacity);
      if (!e.ids || !e.type_ids) return no_memory();
      status = sqz_tokenizer_encode(&e);
      if (status == SQZ_NEEDS_OUT) e.capacity = e.count;
    }
    SQZ_TRY(status);
    SQZ_CHECK(e.count <= most, "text: expected at most %lld tokens, got %lld", (long long)most, (long long)e.count);
    SQZ_CHECK(e.count > 0, "text: expected at least one token, got none");
    // After encode() has found that they are UTF-8.
    for (const sqz_text *text : {&a.text, a.pair})
      SQZ_CHECK(!text || !blank(*text), "%s: expected a text that is not blank, got a blank one",
                text == a.pair ? "pair" : "text");
    int64_t *wide = arena.take<int64_t>(2 * e.count);
    if (!wide) return no_memory();
    for (int64_t i = 0; i < e.count; ++i) wide[i] = e.ids[i], wide[e.count + i] = e.type_ids[i];
    ids = wide, types = wide + e.count, count = e.count;
    return SQZ_OK;
  }
};

// As TextClassificationPipeline._scores.
sqz_status scores_of(const Model &m, int64_t n, const float *logits, float *pairs, float *scores) {
  const char *problem = m.config.problem;
  if (problem && strcmp(problem, "regression") == 0) {
    memcpy(scores, logits, static_cast<size_t>(n) * sizeof *scores);
    return SQZ_OK;
  }
  if (n > 1 && !(problem && strcmp(problem, "multi_label_classification") == 0))
    return sqz_softmax_f32(1, n, logits, n, nullptr, SQZ_MASK_NONE, 0, 1.0, SQZ_MASKED_UNIFORM, scores, n);
  // The sigmoid is the second entry of softmax([0, x]).
  for (int64_t i = 0; i < n; ++i) pairs[2 * i] = 0, pairs[2 * i + 1] = logits[i];
  SQZ_TRY(sqz_softmax_f32(n, 2, pairs, 2, nullptr, SQZ_MASK_NONE, 0, 1.0, SQZ_MASKED_UNIFORM, pairs, 2));
  for (int64_t i = 0; i < n; ++i) scores[i] = pairs[2 * i + 1];
  return SQZ_OK;
}

sqz_status classify(const Model &m, sqz_model_classify_args &a) {
  SQZ_CHECK(m.task == kTextClassification, "model: expected a model of the task 'text-classification', got '%s'",
            kTasks[m.task]);
  Encoded encoded;
  SQZ_TRY(encoded.encode(m, a));
  const int64_t n = m.head.linear.c_out;
  float *logits = encoded.arena.take<float>(4 * n);
  if (!logits) return no_memory();
  float *const scores = logits + n, *const pairs = logits + 2 * n;
  sqz_model_run_args r = {};
  r.size = sizeof r;
  r.batch = 1, r.length = encoded.count;
  r.ids = encoded.ids, r.type_ids = encoded.types;
  r.logits = logits;
  SQZ_TRY(run(m, r));
  SQZ_TRY(scores_of(m, n, logits, pairs, scores));
  a.label = 0;
  // NaN ranks above all numbers, so that it is not hidden.
  for (int64_t i = 1; i < n; ++i)
    if (scores[a.label] == scores[a.label] && (scores[i] != scores[i] || scores[i] > scores[a.label])) a.label = i;
  a.score = scores[a.label];
  a.tokens = encoded.count;
  if (a.logits) memcpy(a.logits, logits, static_cast<size_t>(n) * sizeof *logits);
  if (a.scores) memcpy(a.scores, scores, static_cast<size_t>(n) * sizeof *scores);
  return SQZ_OK;
}

}  // namespace

sqz_status tokenizer_of(const Model &m, sqz_tokenizer *tokenizer) {
  *tokenizer = m.tokenizer.load();
  if (*tokenizer) return SQZ_OK;
  sqz_tokenizer made = 0, none = 0;
  SQZ_TRY(TokenizerReader(m).create(&made));
  if (m.tokenizer.compare_exchange_strong(none, made)) {
    *tokenizer = made;
  } else {  // another thread was faster
    sqz_tokenizer_free(made);
    *tokenizer = none;
  }
  return SQZ_OK;
}

}  // namespace sqz::model

using namespace sqz;
using namespace sqz::model;

extern "C" {

sqz_status sqz_model_tokenizer(sqz_model model, sqz_tokenizer *tokenizer) {
  const Held<Model> m(model);
  if (!m) return SQZ_INVALID;
  SQZ_CHECK(tokenizer, "tokenizer: expected a pointer, got NULL");
  FloatEnvironment environment;
  sqz_tokenizer found;
  SQZ_TRY(tokenizer_of(*m, &found));
  *tokenizer = found;
  return SQZ_OK;
}

sqz_status sqz_model_classify(sqz_model_classify_args *args) {
  return with_size(args, sizeof *args, 1, false, [](Call &, void *a, int64_t) {
    sqz_model_classify_args &of = *static_cast<sqz_model_classify_args *>(a);
    const Held<Model> m(of.model);
    return m ? classify(*m, of) : SQZ_INVALID;
  });
}

}  // extern "C"
