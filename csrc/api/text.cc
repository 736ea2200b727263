// Tokenizers: checks of what callers pass, truncation, and results.

#include <stddef.h>

#include <new>

#include "api/call.h"
#include "memory.h"
#include "text/tokenizer.h"

namespace sqz {

namespace {

constexpr int64_t kMaxText = INT32_MAX;  // offsets are int32_t

sqz_status check_text(const char *name, const sqz_text &text) {
  SQZ_CHECK(text.size >= 0 && text.size <= kMaxText, "%s: expected a size from 0 to 2^31 - 1, got %lld", name,
            (long long)text.size);
  SQZ_CHECK(text.data || text.size == 0, "%s: expected a pointer, got NULL", name);
  return SQZ_OK;
}

// Elements behind a pointer.
sqz_status counted(const char *name, const void *p, const char *count_name, int64_t count) {
  SQZ_CHECK(count >= 0 && count < kMaxText, "%s: expected a number from 0 to 2^31 - 2, got %lld", count_name,
            (long long)count);
  SQZ_CHECK(p || count == 0, "%s: expected a pointer, got NULL", name);
  return SQZ_OK;
}

sqz_status check_template(const char *name, const sqz_template_part *parts, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    SQZ_CHECK(parts[i].id >= SQZ_SECOND_TEXT, "%s: expected ids >= 0, SQZ_FIRST_TEXT or SQZ_SECOND_TEXT, got %d", name,
              parts[i].id);
    SQZ_CHECK(parts[i].type_id >= 0, "%s: expected token types >= 0, got %d", name, parts[i].type_id);
  }
  return SQZ_OK;
}

sqz_status create(sqz_tokenizer_args &a) {
  SQZ_TRY(counted("vocab_offsets", a.vocab_offsets, "vocab_size", a.vocab_size));
  SQZ_TRY(counted("vocab_ids", a.vocab_ids, "vocab_size", a.vocab_size));
  SQZ_TRY(check_text("unk_token", a.unk_token));
  SQZ_TRY(check_text("continuing_subword_prefix", a.continuing_subword_prefix));
  SQZ_CHECK(a.max_input_chars_per_word >= 0, "max_input_chars_per_word: expected a number >= 0, got %lld",
            (long long)a.max_input_chars_per_word);
  SQZ_TRY(counted("added", a.added, "added_count", a.added_count));
  for (int64_t i = 0; i < a.added_count; ++i) {
    SQZ_TRY(check_text("added", a.added[i].content));
    SQZ_CHECK(a.added[i].id >= 0, "added: expected ids >= 0, got %d", a.added[i].id);
  }
  SQZ_TRY(counted("single", a.single, "single_count", a.single_count));
  SQZ_TRY(check_template("single", a.single, a.single_count));
  SQZ_TRY(counted("pair", a.pair, "pair_count", a.pair_count));
  SQZ_TRY(check_template("pair", a.pair, a.pair_count));
  SQZ_CHECK(a.max_length >= 0, "max_length: expected a number >= 0, got %lld", (long long)a.max_length);
  SQZ_TRY(choice("truncation_side", a.truncation_side, SQZ_SIDE_RIGHT, SQZ_SIDE_LEFT));
  void *memory = allocate(sizeof(Tokenizer));
  if (!memory) return fail(SQZ_NO_MEMORY, "tokenizer: expected memory for it, got none");
  Tokenizer *made = new (memory) Tokenizer;
  sqz_status status = made->fill(a);
  if (!status) status = handle_open(Tokenizer::kHandle, made, &a.tokenizer);
  if (status) Tokenizer::kHandle.destroy(made);
  return status;
}

// How many tokens of each text truncation keeps: at most `budget` in all.
sqz_status truncated(const int64_t sizes[2], int64_t budget, sqz_truncation how, bool is_pair, int64_t kept[2]) {
  const int64_t first = sizes[0], second = sizes[1], excess = first + second - budget;
  kept[0] = first;
  kept[1] = second;
  if (excess <= 0) return SQZ_OK;
  if (budget == 0) {
    kept[0] = kept[1] = 0;
    return SQZ_OK;
  }
  if (how == SQZ_TRUNCATE_LONGEST_FIRST) {
    // The shorter text stays whole if it fits into half of the budget; otherwise each gets half.
    int64_t shorter = first < second ? first : second, longer = budget - shorter > shorter ? budget - shorter : shorter;
    if (shorter + longer > budget) {
      shorter = budget / 2;
      longer = budget - budget / 2;
    }
    kept[0] = !is_pair ? budget : first > second ? longer : shorter;
    kept[1] = !is_pair ? 0 : first > second ? shorter : longer;
    return SQZ_OK;
  }
  const bool cuts_first = how == SQZ_TRUNCATE_ONLY_FIRST;
  SQZ_CHECK(cuts_first || is_pair, "truncation: 'only_second' cannot shorten a single text, expected a pair");
  const int64_t size = cuts_first ? first : second;
  SQZ_CHECK(size > excess, "truncation: '%s' must take off %lld tokens, but that text has only %lld",
            cuts_first ? "only_first" : "only_second", (long long)excess, (long long)size);
  kept[cuts_first ? 0 : 1] -= excess;
  return SQZ_OK;
}

// The tokens of a template's parts, one after the other.
class Filler {
 public:
  explicit Filler(sqz_tokenizer_encode_args &args) : a_(args) {}

  void special(const sqz_template_part &part) { put({part.id, 0, 0, -1}, part.type_id, -1); }
  void text(const sqz_template_part &part, const Tokenizer::Tokens &tokens) {
    const int32_t sequence = part.id == SQZ_FIRST_TEXT ? 0 : 1;
    for (int64_t i = tokens.first; i < tokens.last; ++i) put(tokens.list[i], part.type_id, sequence);
  }

 private:
  void put(const Token &token, int32_t type_id, int32_t sequence) {
    if (a_.ids) a_.ids[at_] = token.id;
    if (a_.type_ids) a_.type_ids[at_] = type_id;
    if (a_.offsets) {
      a_.offsets[2 * at_] = token.begin;
      a_.offsets[2 * at_ + 1] = token.end;
    }
    if (a_.words) a_.words[at_] = token.word;
    if (a_.sequences) a_.sequences[at_] = sequence;
    ++at_;
  }

  sqz_tokenizer_encode_args &a_;
  int64_t at_ = 0;
};

sqz_status encode(sqz_tokenizer_encode_args &a) {
  const Held<Tokenizer> tokenizer(a.tokenizer);
  if (!tokenizer) return SQZ_INVALID;
  SQZ_TRY(check_text("text", a.text));
  if (a.pair) SQZ_TRY(check_text("pair", *a.pair));
  SQZ_TRY(choice("truncation", a.truncation, SQZ_TRUNCATE_NONE, SQZ_TRUNCATE_ONLY_SECOND));
  SQZ_CHECK(a.max_length >= 0, "max_length: expected a number >= 0, got %lld", (long long)a.max_length);
  SQZ_TRY(choice("offset_unit", a.offset_unit, SQZ_UNIT_CODE_POINT, SQZ_UNIT_BYTE));
  SQZ_CHECK(a.capacity >= 0, "capacity: expected a number >= 0, got %lld", (long long)a.capacity);

  const Buffer<sqz_template_part> &parts = tokenizer->templates[a.pair ? 1 : 0];
  int64_t specials = 0;
  for (const sqz_template_part &part : parts) specials += part.id >= 0 && !a.without_special_tokens;
  const int64_t limit = a.max_length ? a.max_length : tokenizer->max_length;
  if (a.truncation != SQZ_TRUNCATE_NONE) {
    SQZ_CHECK(limit > 0, "max_length: expected a number > 0 to truncate to, got 0, and the tokenizer has none");
    SQZ_CHECK(limit >= specials, "max_length: expected at least the %lld special tokens, got %lld", (long long)specials,
              (long long)limit);
  }
  Tokenizer::Tokens tokens[2];
  const bool surrogates = a.accept_surrogates, count_bytes = a.offset_unit == SQZ_UNIT_BYTE;
  SQZ_TRY(tokenizer->encode("text", a.text, surrogates, count_bytes, &tokens[0]));
  if (a.pair) SQZ_TRY(tokenizer->encode("pair", *a.pair, surrogates, count_bytes, &tokens[1]));
  if (a.truncation != SQZ_TRUNCATE_NONE) {
    const int64_t sizes[2] = {tokens[0].count(), tokens[1].count()};
    int64_t kept[2];
    SQZ_TRY(truncated(sizes, limit - specials, a.truncation, a.pair, kept));
    for (int i = 0; i < 2; ++i)
      (tokenizer->truncation_side == SQZ_SIDE_RIGHT ? tokens[i].last : tokens[i].first) =
          tokenizer->truncation_side == SQZ_SIDE_RIGHT ? kept[i] : sizes[i] - kept[i];
  }
  a.count = specials;
  for (const sqz_template_part &part : parts)
    if (part.id < 0) a.count += tokens[part.id == SQZ_SECOND_TEXT].count();
  if (a.count > a.capacity) return SQZ_NEEDS_OUT;
  Filler filler(a);
  for (const sqz_template_part &part : parts) {
    if (part.id < 0)
      filler.text(part, tokens[part.id == SQZ_SECOND_TEXT]);
    else if (!a.without_special_tokens)
      filler.special(part);
  }
  return SQZ_OK;
}

}  // namespace

}  // namespace sqz

using namespace sqz;

extern "C" {

sqz_status sqz_tokenizer_create(sqz_tokenizer_args *args) {
  // Of the first version, whose last field is the result: without it, nobody could free the tokenizer.
  constexpr size_t kLeast = offsetof(sqz_tokenizer_args, tokenizer) + sizeof(sqz_tokenizer);
  SQZ_CHECK(!args || args->size >= kLeast, "size: expected that of the struct, %zu bytes, got %zu", sizeof *args,
            args->size);
  return with_size(args, sizeof *args, 1, false,
                   [](Call &, void *a, int64_t) { return create(*static_cast<sqz_tokenizer_args *>(a)); });
}

sqz_status sqz_tokenizer_free(sqz_tokenizer tokenizer) {
  return tokenizer ? handle_close(Tokenizer::kHandle, tokenizer) : SQZ_OK;
}

sqz_status sqz_tokenizer_encode(sqz_tokenizer_encode_args *args) {
  return with_size(args, sizeof *args, 1, false,
                   [](Call &, void *a, int64_t) { return encode(*static_cast<sqz_tokenizer_encode_args *>(a)); });
}

}  // extern "C"
