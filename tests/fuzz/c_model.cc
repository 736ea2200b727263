// Opens the input as a converted model, describes it, runs it and its tokenizer. Whatever a file has, it is refused
// with a message or works.

#include <stdint.h>

#include "harness.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

namespace {

constexpr int64_t kTokens = 5, kSequences = 2;
constexpr int64_t kMostBytes = 1 << 26, kMostFloats = kMostBytes / 4;

float *floats(int64_t count) { return static_cast<float *>(malloc(static_cast<size_t>(count) * sizeof(float) + 1)); }

void run(sqz_model model, const sqz_model_info &info) {
  const int64_t of_logits = info.logits_size * (info.logits_per_token ? kTokens : kSequences);
  const int64_t widest = info.hidden_size * (info.layers + 2) * kTokens + of_logits + info.embedding_size * kSequences;
  const int64_t workspace = sqz_model_workspace_size(model, kTokens, kSequences, kTokens);
  if (!works(workspace) || workspace > kMostBytes || widest > kMostFloats) return;
  const int32_t offsets[] = {0, 1, kTokens};
  int64_t ids[kTokens], types[kTokens];
  for (int64_t i = 0; i < kTokens; ++i) {
    ids[i] = i == 0 ? info.vocab_size - 1 : i % info.vocab_size;  // the last rows of the tables, too
    types[i] = i == 0 ? info.types - 1 : 0;
  }
  const uint8_t mask[] = {1, 1, 0, 1, 0};
  sqz_model_run_args args = {};
  args.size = sizeof args;
  args.model = model;
  args.batch = kSequences;
  args.offsets = offsets;
  args.ids = ids;
  args.type_ids = types;
  args.mask = mask;
  // Blocks of exactly the size of each result, so that a sanitizer sees what is written beside them.
  float *results[] = {floats(kTokens * info.hidden_size), floats(kTokens * info.hidden_size * (info.layers + 1)),
                      floats(kSequences * info.pooled_size), floats(of_logits),
                      floats(kSequences * info.embedding_size)};
  args.hidden = results[0];
  args.all_hidden = results[1];
  args.pooled = info.pooled_size ? results[2] : nullptr;
  args.logits = info.logits_size ? results[3] : nullptr;
  args.embeddings = results[4];
  works(sqz_model_run(&args));
  for (float *result : results) free(result);
}

// Numbers and pointers that a caller gets wrong, in memory of the right sizes for what is left.
void run_wrongly(sqz_model model, const sqz_model_info &info, uint32_t state) {
  static const int64_t kNumbers[] = {0, 1, 2, 3, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int64_t{1} << 31};
  const auto below = [&](int n) {
    state = state * 1664525u + 1013904223u;
    return static_cast<int>((state >> 16) % static_cast<uint32_t>(n));
  };
  const auto number = [&] { return kNumbers[below(10)]; };
  const auto rarely = [&] { return below(8) == 0; };
  const int64_t of_logits = info.logits_size * (info.logits_per_token ? kTokens : kSequences);
  const int64_t widest = info.hidden_size * (info.layers + 2) * kTokens + of_logits + info.embedding_size * kSequences;
  for (int i = 0; i < 16 && widest <= kMostFloats; ++i) {
    int32_t offsets[] = {0, 1 + below(3), kTokens};
    int64_t ids[kTokens] = {}, types[kTokens] = {};
    uint8_t mask[kTokens], logits_mask[kTokens];
    for (int k = 0; k < kTokens; ++k) {
      ids[k] = rarely() ? number() : k % info.vocab_size;
      types[k] = rarely() && rarely() ? number() : 0;
      mask[k] = static_cast<uint8_t>(below(3));
      logits_mask[k] = static_cast<uint8_t>(below(2));
    }
    if (rarely()) offsets[below(3)] = below(2) ? static_cast<int32_t>(number()) : below(kTokens + 1);
    for (int32_t &offset : offsets)
      if (offset > kTokens && offset <= info.max_tokens) offset = kTokens;
    sqz_model_run_args args = {};
    args.size = rarely() ? sizeof args - static_cast<size_t>(8 * below(18)) : sizeof args;
    args.model = rarely() ? static_cast<sqz_model>(number()) : model;
    args.batch = rarely() ? number() : 1 + below(kSequences);
    if (args.batch == 3) args.batch = kSequences;
    args.length = rarely() ? number() : 1 + below(2);
    if (args.length > 2 && args.length <= info.max_tokens) args.length = 2;
    args.offsets = below(2) ? offsets : nullptr;
    args.ids = rarely() ? nullptr : ids;
    args.type_ids = below(2) ? types : nullptr;
    args.mask = below(2) ? mask : nullptr;
    args.logits_mask = below(2) ? logits_mask : nullptr;
    args.unpooled = below(2) ? number() : 0;
    float *results[] = {floats(kTokens * info.hidden_size), floats(kTokens * info.hidden_size * (info.layers + 1)),
                        floats(kSequences * info.pooled_size), floats(of_logits),
                        floats(kSequences * info.embedding_size)};
    float **const places[] = {&args.hidden, &args.all_hidden, &args.pooled, &args.logits, &args.embeddings};
    for (int k = 0; k < 5; ++k) {
      const bool has = k == 2 ? info.pooled_size > 0 : k == 3 ? info.logits_size > 0 : true;
      *places[k] = (has || rarely()) && below(2) ? results[k] : nullptr;
    }
    const int64_t bytes = sqz_model_workspace_size(model, kTokens, kSequences, kTokens);
    check(bytes > 0, "workspace");
    void *workspace = nullptr;
    if (bytes <= kMostBytes && below(2)) {
      args.workspace_size = rarely() ? static_cast<size_t>(below(4096)) : static_cast<size_t>(bytes);
      args.workspace = workspace = malloc(args.workspace_size);
    }
    works(sqz_model_run(&args));
    free(workspace);
    for (float *result : results) free(result);
  }
  check(!works(sqz_model_close(model ^ uint64_t{1} << below(64))), "another handle");
  const int64_t tokens = number(), batch = number(), longest = number();
  works(sqz_model_workspace_size(model, tokens, batch, longest));
}

void tokenize(sqz_model model, const sqz_model_info &info) {
  static const char kText[] = "A b ab [SEP] <x> <y>\xc3\xa9\xf0\x9f\x98\x80\xe4\xb8\xad movie";
  sqz_tokenizer tokenizer = 0;
  if (!works(sqz_model_tokenizer(model, &tokenizer))) return;
  sqz_model_classify_args args = {};
  args.size = sizeof args;
  args.model = model;
  args.text = {kText, sizeof kText - 1};
  const sqz_text pair = {"b", 1};
  float *scores = floats(info.logits_size);
  args.scores = scores;
  for (int i = 0; i < 4; ++i) {
    args.pair = i & 1 ? &pair : nullptr;
    args.truncate = i >> 1;
    if (works(sqz_model_classify(&args)))
      check(args.label >= 0 && args.label < info.logits_size && args.tokens <= info.max_tokens, "label");
  }
  static const sqz_text kWrong[] = {{nullptr, 1}, {kText, -1}, {kText, INT64_MIN}, {kText, INT64_MAX}, {"\xff", 1}};
  for (const sqz_text &wrong : kWrong) {
    for (int second = 0; second < 2; ++second) {
      args.text = second ? pair : wrong;
      args.pair = second ? &wrong : &pair;
      check(!works(sqz_model_classify(&args)), "wrong text");
    }
  }
  free(scores);
}

}  // namespace

// Lets a change of the header change its length too: else almost every input would be refused for that alone.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  uint64_t length = 0;
  if (size >= 8) memcpy(&length, data, 8);
  if (seed % 4 == 0 || size < 8 || length > size - 8 || most < size + 64) return LLVMFuzzerMutate(data, size, most);
  const size_t rest = size - 8 - length, room = most - size + length;
  auto *text = static_cast<uint8_t *>(malloc(room));
  memcpy(text, data + 8, length);
  const uint64_t changed = LLVMFuzzerMutate(text, length, room);
  memmove(data + 8 + changed, data + 8 + length, rest);
  memcpy(data + 8, text, changed);
  memcpy(data, &changed, 8);
  free(text);
  return 8 + changed + rest;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const kTasks[] = {nullptr,
                                       "base",
                                       "masked-lm",
                                       "text-classification",
                                       "multiple-choice",
                                       "token-classification",
                                       "question-answering"};
  void *block = nullptr;
  if (posix_memalign(&block, 64, size ? size : 1) != 0) return 0;
  if (size) memcpy(block, data, size);
  // The choices hang on the input alone, and change with any byte of it.
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ data[i]) * 16777619u;
  sqz_force_isa(sqz_isa_name(static_cast<int>(hash >> 8) % sqz_isa_count()));
  if (sqz_get_num_threads() != 1) sqz_set_num_threads(1);  // which reads files
  sqz_model model = 0;
  begin();
  if (works(sqz_model_open_memory(block, size, kTasks[hash % 14 < 7 ? hash % 14 : 0], &model))) {
    sqz_model_info info = {};
    info.size = sizeof info;
    check(works(sqz_model_get_info(model, &info)), "info");
    check(info.vocab_size > 0 && info.types >= 0 && info.max_tokens > 0 && info.hidden_size > 0, "sizes");
    for (int64_t i = -1; i <= info.labels; ++i) {
      char room[8];
      const int64_t length = sqz_model_label(model, i, room, sizeof room);
      check(works(length) == (i >= 0 && i < info.labels), "label's length");
    }
    run(model, info);
    run_wrongly(model, info, hash);
    tokenize(model, info);
    check(works(sqz_model_close(model)), "close");
  }
  free(block);
  return 0;
}
