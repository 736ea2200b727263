// Makes a tokenizer of the input and encodes a text with it. The input: eight bytes of choices, then strings, each up
// to the next byte 0: tokens of the vocabulary up to an empty one, added tokens up to an empty one, the two texts.

#include <stdint.h>

#include "harness.h"

namespace {

constexpr int kMostTokens = 200, kMostAdded = 40;

struct Input {
  const uint8_t *at, *end;

  int byte() { return at < end ? *at++ : 0; }
  sqz_text string() {
    const uint8_t *begin = at;
    while (at < end && *at) ++at;
    const sqz_text text = {reinterpret_cast<const char *>(begin), at - begin};
    if (at < end) ++at;
    return text;
  }
};

int compare(const void *a, const void *b) {
  const sqz_text &x = *static_cast<const sqz_text *>(a), &y = *static_cast<const sqz_text *>(b);
  const int order = memcmp(x.data, y.data, static_cast<size_t>(x.size < y.size ? x.size : y.size));
  return order ? order : (x.size > y.size) - (x.size < y.size);
}

// A block of a text's own, so that a sanitizer sees what is read beside it.
sqz_text copy(const sqz_text &text) {
  auto *bytes = static_cast<char *>(malloc(static_cast<size_t>(text.size)));
  if (text.size) memcpy(bytes, text.data, static_cast<size_t>(text.size));
  return {bytes, text.size};
}

// What a caller gets wrong; the memory of what is left has the right sizes.
void forget(sqz_tokenizer_args &args, int which, int32_t *offsets) {
  static const sqz_text kNothing = {nullptr, 3};
  static const sqz_added_token kAdded = {kNothing, 1, 0, 0, 0, 0, 0};
  switch (which) {
    case 1: args.vocab_bytes = nullptr; break;
    case 2: args.vocab_offsets = nullptr; break;
    case 3: args.vocab_ids = nullptr; break;
    case 4: args.vocab_size = INT64_MIN; break;
    case 5: args.unk_token = kNothing; break;
    case 6: args.continuing_subword_prefix = {"##", -2}; break;
    case 7: args.added = &kAdded, args.added_count = 1; break;
    case 8: args.added = nullptr; break;
    case 9: args.single = nullptr; break;
    case 10: args.pair_count = INT64_MAX; break;
    case 11: args.size = static_cast<size_t>(args.max_length) / 8 * 8; break;
    case 12: offsets[0] = -1; break;
    default: break;
  }
}

void encode(sqz_tokenizer tokenizer, int choices, int limit, const sqz_text texts[2]) {
  sqz_tokenizer_encode_args args = {};
  args.size = sizeof args;
  args.tokenizer = tokenizer;
  args.text = texts[0];
  args.pair = choices & 1 ? &texts[1] : nullptr;
  args.accept_surrogates = choices & 2;
  args.without_special_tokens = choices & 4;
  args.truncation = static_cast<sqz_truncation>(choices >> 3 & 3);
  args.max_length = limit;
  args.offset_unit = choices & 32 ? SQZ_UNIT_BYTE : SQZ_UNIT_CODE_POINT;
  sqz_status status = sqz_tokenizer_encode(&args);
  if (status == SQZ_NEEDS_OUT) {
    args.capacity = args.count;
    int32_t *columns[5];
    for (int i = 0; i < 5; ++i)
      columns[i] = static_cast<int32_t *>(malloc(static_cast<size_t>(args.count) * (i == 2 ? 8 : 4)));
    args.ids = columns[0], args.type_ids = columns[1], args.offsets = columns[2];
    args.words = columns[3], args.sequences = columns[4];
    check((status = sqz_tokenizer_encode(&args)) == SQZ_OK && args.count == args.capacity, "count");
    for (int64_t i = 0; i < args.count; ++i) {
      const int32_t sequence = args.sequences[i], begin = args.offsets[2 * i], end = args.offsets[2 * i + 1];
      check(args.ids[i] >= 0 && sequence >= -1 && sequence <= 1, "token");
      check(begin >= 0 && begin <= end && end <= (sequence < 0 ? 0 : texts[sequence].size), "offsets");
    }
    check(!args.truncation || args.count <= (limit ? limit : INT32_MAX), "truncation");
    for (int32_t *column : columns) free(column);
  }
  works(status);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Input in{data, data + size};
  const int flags = in.byte(), more = in.byte(), choices = in.byte(), limit = in.byte(), word = in.byte();
  const int shape = in.byte(), prefix = in.byte(), unknown = in.byte();

  sqz_text tokens[kMostTokens];
  int64_t count = 0, bytes = 0;
  for (sqz_text token; count < kMostTokens && (token = in.string()).size > 0; ++count) tokens[count] = token;
  if (more & 1) qsort(tokens, static_cast<size_t>(count), sizeof *tokens, compare);
  for (int64_t i = 0; i < count; ++i) bytes += tokens[i].size;
  auto *all = static_cast<char *>(malloc(static_cast<size_t>(bytes)));
  auto *offsets = static_cast<int32_t *>(malloc(static_cast<size_t>(count + 1) * 4));
  auto *ids = static_cast<int32_t *>(malloc(static_cast<size_t>(count) * 4));
  offsets[0] = 0;
  for (int64_t i = 0; i < count; ++i) {
    memcpy(all + offsets[i], tokens[i].data, static_cast<size_t>(tokens[i].size));
    offsets[i + 1] = offsets[i] + static_cast<int32_t>(tokens[i].size);
    ids[i] = static_cast<int32_t>(count - i);
  }
  sqz_added_token added[kMostAdded];
  int64_t added_count = 0;
  for (sqz_text token; added_count < kMostAdded && (token = in.string()).size > 0; ++added_count) {
    const int kind = *token.data++ & 31;
    added[added_count] = {{token.data, token.size - 1}, 500 + kind, kind & 1, kind & 2, kind & 4, kind & 8, kind & 16};
  }
  const sqz_text texts[2] = {copy(in.string()), copy(in.string())};
  const sqz_template_part parts[] = {{2, 0}, {SQZ_FIRST_TEXT, 0}, {3, 0}, {SQZ_SECOND_TEXT, 1}, {3, 1}};

  sqz_tokenizer_args args = {};
  args.size = sizeof args;
  args.vocab_bytes = all;
  args.vocab_offsets = offsets;
  args.vocab_ids = ids;
  args.vocab_size = count;
  args.lowercase = flags & 1;
  args.strip_accents = flags & 2;
  args.handle_chinese_chars = flags & 4;
  args.clean_text = flags & 8;
  args.unk_token = count ? tokens[unknown % count] : sqz_text{};
  if (prefix & 1)
    args.continuing_subword_prefix = {"##", 2};
  else if (prefix & 2 && count)
    args.continuing_subword_prefix = tokens[prefix % count];
  args.max_input_chars_per_word = word;
  args.added_count = added_count;
  args.added = added;
  args.split_special_tokens = more & 2;
  args.single = parts + (shape & 1);
  args.single_count = shape >> 1 & 3;
  args.pair = parts;
  args.pair_count = shape >> 3 & 7;
  if (args.pair_count > 5) args.pair_count = 5;
  args.max_length = more & 4 ? limit / 2 : 0;
  args.truncation_side = more & 8 ? SQZ_SIDE_LEFT : SQZ_SIDE_RIGHT;
  forget(args, more >> 4, offsets);
  begin();
  const bool made = works(sqz_tokenizer_create(&args));
  free(all);  // all is copied
  free(offsets);
  free(ids);
  if (made) {
    encode(args.tokenizer, choices, limit, texts);
    check(sqz_tokenizer_free(args.tokenizer) == SQZ_OK, "free");
  }
  for (const sqz_text &text : texts) free(const_cast<char *>(text.data));
  return 0;
}
