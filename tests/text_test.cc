// What csrc/text/ has inside. test_c_tokenizer.py builds this and compares with the normaliser in Python:
//   text_test normalize CLEAN CJK STRIP LOWER   the normalised form of each code point, after a byte for its size
//   text_test kinds                             the kind of each code point, plus 4 if it is a word character
//   text_test sets                              checks sets of tokens, by themselves
//   text_test memory                            makes and uses a tokenizer while each allocation in turn fails
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "text/normalizer.cc"
#include "text/token_set.cc"
#include "text/tokenizer.cc"

namespace {

using namespace sqz;

constexpr uint32_t kCodePoints = 0x110000;

void normalize(const Normalizer &normalizer) {
  Normalized out;
  for (uint32_t c = 0; c < kCodePoints; ++c) {
    uint8_t text[4];
    const int size = encode(c, text);
    CHECK(decode(text) == c && decode_before(text + size) == c && utf8_size(text[0]) == size);
    bool ascii;
    const bool surrogate = c >= 0xD800 && c < 0xE000;
    CHECK(find_invalid(text, size, true, &ascii) == size && ascii == (c < 0x80));
    CHECK(find_invalid(text, size, false, &ascii) == (surrogate ? 0 : size));
    CHECK(normalizer.run(text, size, false, &out));
    for (int32_t origin : out.origin) CHECK(origin == 0);
    fputc(static_cast<int>(out.bytes.size()), stdout);
    fwrite(out.bytes.data(), 1, static_cast<size_t>(out.bytes.size()), stdout);
  }
}

const uint8_t *data_of(const std::string &s) { return reinterpret_cast<const uint8_t *>(s.data()); }

uint64_t hash_of(const std::string &s) {
  uint64_t hash = 0;
  for (char c : s) hash = add_to_hash(hash, static_cast<uint8_t>(c));
  return hash;
}

// Compares a set with the definition, for words that are like its tokens.
void check_set(const std::set<std::string> &tokens, const std::string &prefix, std::mt19937 &random) {
  std::string bytes;
  std::vector<int32_t> offsets = {0};
  for (const std::string &token : tokens) {
    bytes += token;
    offsets.push_back(static_cast<int32_t>(bytes.size()));
  }
  TokenSet set;
  CHECK(set.fill(data_of(bytes), offsets.data(), static_cast<int32_t>(tokens.size())));
  const TokenSet::Root roots[2] = {set.root(nullptr, 0),
                                   set.root(data_of(prefix), static_cast<int64_t>(prefix.size()))};
  std::vector<std::string> list(tokens.begin(), tokens.end());
  for (int i = 0; i < 3000; ++i) {
    const bool inside = i % 2;
    std::string word = list[random() % list.size()];
    if (inside && word.compare(0, prefix.size(), prefix) == 0) word.erase(0, prefix.size());
    if (i % 3) word += list[random() % list.size()].substr(0, random() % 8);
    if (i % 5 == 0 && !word.empty()) word[random() % word.size()] ^= 1;
    const auto found = tokens.find(word);
    CHECK(set.find(data_of(word), static_cast<int64_t>(word.size())) ==
          (found == tokens.end() ? -1 : std::distance(tokens.begin(), found)));
    int64_t taken = -1, size = static_cast<int64_t>(word.size());
    const int32_t token = set.longest(roots[inside], data_of(word), data_of(word) + size, &taken);
    for (; size > 0; --size)
      if (tokens.count((inside ? prefix : "") + word.substr(0, static_cast<size_t>(size)))) break;
    if (size == 0)
      CHECK(token == -1);
    else
      CHECK(token >= 0 && taken == size &&
            list[static_cast<size_t>(token)] == (inside ? prefix : "") + word.substr(0, static_cast<size_t>(size)));
  }
}

void sets() {
  std::mt19937 random(5);
  const auto word = [&random](unsigned most, unsigned letters) {
    std::string s;
    for (unsigned n = 1 + random() % most; n > 0; --n) s += static_cast<char>('a' + random() % letters);
    return s;
  };
  for (unsigned round = 0; round < 40; ++round) {
    std::set<std::string> tokens = {"", "#", "##"};
    const unsigned letters = 2 + round % 7, most = round % 4 == 3 ? 150 : 9;  // 150: longer than what is indexed
    for (int i = 0; i < 300; ++i) tokens.insert((i % 2 ? "##" : "") + word(most, letters));
    if (round % 5 == 0) tokens.insert(std::string("\xff\xfe\x00\x01", 4));
    check_set(tokens, round % 3 ? "##" : "", random);
  }
  check_set({"a"}, "##", random);
  // All at one place of an index of 512 places: far more than are looked up.
  std::set<std::string> tokens;
  while (tokens.size() < 256) {
    const std::string s = word(12, 26);
    if (hash_of(s) >> 55 == 7) tokens.insert(s);
  }
  check_set(tokens, "##", random);
}

int64_t left = INT64_MAX;  // allocations that succeed

// The number of the first allocation with which `run` succeeds; all before fail without harm.
template <class Run>
int64_t allocations(const Run &run) {
  for (int64_t count = 0;; ++count) {
    left = count;
    const sqz_status status = run();
    left = INT64_MAX;
    if (status == SQZ_OK) return count;
    CHECK(status == SQZ_NO_MEMORY && count < 100);
  }
}

sqz_text text_of(const char *s) { return {s, static_cast<int64_t>(strlen(s))}; }

void memory() {
  const int32_t offsets[] = {0, 3, 8, 9, 10}, ids[] = {7, 1, 5, 6};
  const sqz_added_token added[] = {{text_of("[SEP]"), 3, 0, 1, 1, 0, 1},
                                   {text_of("\xc3\x89t\xc3\xa9"), 4, 0, 0, 0, 1, 0}};
  const sqz_template_part parts[] = {{2, 0}, {SQZ_FIRST_TEXT, 0}};
  sqz_tokenizer_args args = {};
  args.vocab_bytes = "##b[UNK]ac";
  args.vocab_offsets = offsets;
  args.vocab_ids = ids;
  args.vocab_size = 4;
  args.lowercase = args.strip_accents = args.handle_chinese_chars = args.clean_text = 1;
  args.unk_token = text_of("[UNK]");
  args.continuing_subword_prefix = text_of("##");
  args.max_input_chars_per_word = 100;
  args.added = added;
  args.added_count = 2;
  args.single = args.pair = parts;
  args.single_count = args.pair_count = 2;
  CHECK(sqz_set_allocator([](void *, size_t size) { return left-- > 0 ? malloc(size) : nullptr; },
                          [](void *, void *memory) { free(memory); }, nullptr) == SQZ_OK);
  CHECK(allocations([&args] {
          Tokenizer tokenizer;
          return tokenizer.fill(args);
        }) > 10);
  Tokenizer tokenizer;
  CHECK(tokenizer.fill(args) == SQZ_OK);
  // Cleaning, marks to be sorted, an added token of each kind, more tokens and characters than there is room for first.
  std::string text = "ab \xc3\x89te [SEP] \xe3\x80\xae\xcc\x81 \xe4\xb8\xad";
  for (int i = 0; i < 200; ++i) text += "a b\xc4\xb0\xea\xb0\x81 ";
  for (bool count_bytes : {false, true})
    CHECK(allocations([&] {
            Tokenizer::Tokens tokens;
            const sqz_text given = {text.data(), static_cast<int64_t>(text.size())};
            const sqz_status status = tokenizer.encode("text", given, false, count_bytes, &tokens);
            CHECK(status || tokens.count() > 400);
            return status;
          }) > 8);
}

}  // namespace

int main(int count, char **arguments) {
  const std::string what = count > 1 ? arguments[1] : "";
  if (what == "normalize" && count == 6) {
    const auto flag = [arguments](int i) { return arguments[i][0] == '1'; };
    normalize(Normalizer(flag(2), flag(3), flag(4), flag(5)));
  } else if (what == "kinds") {
    for (uint32_t c = 0; c < kCodePoints; ++c) fputc(static_cast<int>(kind_of(c)) + 4 * is_word_char(c), stdout);
  } else if (what == "sets") {
    sets();
  } else if (what == "memory") {
    memory();
  } else {
    return 2;
  }
}
