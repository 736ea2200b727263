#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "api/checks.h"

namespace sqz::model {

const char *const kModelTypes[kModelTypeCount] = {"squeezebert", "bert", "distilbert"};
const char *const kTasks[kTaskCount] = {
    "base", "masked-lm", "text-classification", "multiple-choice", "token-classification", "question-answering"};

namespace {

constexpr const char *kClasses[kModelTypeCount] = {"SqueezeBert", "Bert", "DistilBert"};  // prefixes in transformers
struct Class {
  const char *name;
  Task task;
};
constexpr Class kTaskClasses[] = {{"Model", kBase},
                                  {"ForNextSentencePrediction", kBase},
                                  {"ForPreTraining", kMaskedLm},
                                  {"ForMaskedLM", kMaskedLm},
                                  {"LMHeadModel", kMaskedLm},
                                  {"ForSequenceClassification", kTextClassification},
                                  {"ForMultipleChoice", kMultipleChoice},
                                  {"ForTokenClassification", kTokenClassification},
                                  {"ForQuestionAnswering", kQuestionAnswering}};
struct Activation {
  const char *name;
  sqz_activation activation;
};
constexpr Activation kActivations[] = {{"gelu", SQZ_ACT_GELU},
                                       {"gelu_python", SQZ_ACT_GELU},
                                       {"gelu_new", SQZ_ACT_GELU_TANH},
                                       {"gelu_fast", SQZ_ACT_GELU_TANH},
                                       {"gelu_accurate", SQZ_ACT_GELU_TANH},
                                       {"gelu_python_tanh", SQZ_ACT_GELU_TANH},
                                       {"gelu_pytorch_tanh", SQZ_ACT_GELU_TANH},
                                       {"relu", SQZ_ACT_RELU}};
constexpr const char *kProblems[] = {"regression", "single_label_classification", "multi_label_classification"};
constexpr const char *kPoolings[kPoolingCount] = {"cls", "max", "mean"};

// Keys of config.json: the sizes first.
enum Key {
  kAct = kSizeCount,
  kEps,
  kProblem,
  kTie,
  kArchitectures,
  kIdToLabel,
  kModelType,
  // Keys that change the computation; only what does not is implemented.
  kPositionType,
  kDecoder,
  kCrossAttention,
  kEncoderDecoder,
  kQuantization,
  kPruned,
  // Names of a DistilBERT for keys above.
  kDim,
  kNLayers,
  kNHeads,
  kHiddenDim,
  kActivation,
  kTokenizerClass,
  kKeyCount
};
constexpr const char *kKeys[kKeyCount] = {"vocab_size",
                                          "hidden_size",
                                          "embedding_size",
                                          "num_hidden_layers",
                                          "num_attention_heads",
                                          "intermediate_size",
                                          "max_position_embeddings",
                                          "type_vocab_size",
                                          "num_labels",
                                          "q_groups",
                                          "k_groups",
                                          "v_groups",
                                          "post_attention_groups",
                                          "intermediate_groups",
                                          "output_groups",
                                          "hidden_act",
                                          "layer_norm_eps",
                                          "problem_type",
                                          "tie_word_embeddings",
                                          "architectures",
                                          "id2label",
                                          "model_type",
                                          "position_embedding_type",
                                          "is_decoder",
                                          "add_cross_attention",
                                          "is_encoder_decoder",
                                          "quantization_config",
                                          "pruned_heads",
                                          "dim",
                                          "n_layers",
                                          "n_heads",
                                          "hidden_dim",
                                          "activation",
                                          "tokenizer_class"};
constexpr int kRenamed[] = {kHidden, kLayers, kHeads, kInner, kAct};  // from kDim on
constexpr int64_t kDefaults[kSizeCount] = {30522, 768, 768, 12, 12, 3072, 512, 2, 2, 4, 4, 4, 1, 4, 4};
// A file may claim any number. These limits bound the loops that run before numbers are compared with the tensors.
constexpr int64_t kMostLayers = 10000, kMostLabels = 100000;

constexpr char kName[] = "config.json";

struct Reader {
  Chars values[kKeyCount];
  const char *names[kKeyCount];  // as the file has them
  Config *to;

  // "KEY: expected ..., got VALUE"
  sqz_status bad(int key, const char *expected) const {
    return fail(SQZ_INVALID, "%s: %s: expected %s, got %s", kName, names[key], expected,
                values[key].p ? Shown(values[key]).s : "none");
  }

  // The type, by its key or else by the name of a class.
  sqz_status model_type(const Chars &first_class) {
    Chars word;
    if (decode(values[kModelType], &word)) {
      for (int i = 0; i < kModelTypeCount; ++i)
        if (same(word, kModelTypes[i])) {
          to->type = static_cast<ModelType>(i);
          return SQZ_OK;
        }
    } else if (!values[kModelType].p) {
      if (!first_class.p) return SQZ_OK;
      for (int i = 0; i < kModelTypeCount; ++i)
        if (begins(first_class, kClasses[i])) {
          to->type = static_cast<ModelType>(i);
          return SQZ_OK;
        }
      return fail(SQZ_INVALID, "%s: model_type: expected one of SqueezeBert, Bert, DistilBert in architectures, got %s",
                  kName, Shown(first_class).s);
    }
    return bad(kModelType, "'squeezebert', 'bert' or 'distilbert'");
  }

  sqz_status architectures(Chars *first) {
    if (absent(values[kArchitectures])) return SQZ_OK;
    Members all("config.json: architectures", values[kArchitectures], '[');
    Chars item;
    while (all.next(&item, &item)) {
      if (!decode(item, &item)) return bad(kArchitectures, "null or a list of strings");
      if (!first->p) *first = item;
      if (to->saved_for != kTaskCount) continue;
      for (const char *prefix : kClasses)
        for (const Class &c : kTaskClasses)
          if (begins(item, prefix) &&
              same({item.p + strlen(prefix), item.n - static_cast<int64_t>(strlen(prefix))}, c.name))
            to->saved_for = c.task;
    }
    return all.status();
  }

  sqz_status labels(Arena *arena) {
    if (absent(values[kIdToLabel])) return SQZ_OK;
    constexpr char kWhat[] = "config.json: id2label", kExpected[] = "an object that maps 0, 1, ... to strings";
    int64_t count = 0;
    Chars key, value;
    Members counted(kWhat, values[kIdToLabel]);
    while (counted.next(&key, &value)) ++count;
    SQZ_TRY(counted.status());
    if (count > kMostLabels) return bad(kIdToLabel, "at most 100000 classes");
    if (count == 0) return SQZ_OK;
    Chars *found = arena->take<Chars>(count);
    if (!found) return fail(SQZ_NO_MEMORY, "%s: expected memory, got none", kWhat);
    Members all(kWhat, values[kIdToLabel]);
    while (all.next(&key, &value)) {
      int64_t i, number;
      decode(key, &key);
      // An integer becomes a string: as it is.
      const bool good = key.n < 10 && integer(key, &i) && i >= 0;
      if (!good || !(integer(value, &number) || decode(value, &value))) return bad(kIdToLabel, kExpected);
      if (i >= count || found[i].p) return bad(kIdToLabel, "the classes from 0 on");
      found[i] = value;
    }
    // An integer is followed by a comma, or by the end of the object, which the next parser of it no longer needs.
    for (int64_t i = 0; i < count; ++i) found[i].p[found[i].n] = '\0';
    to->labels = found;
    to->sizes[kLabels] = count;
    return SQZ_OK;
  }

  sqz_status sizes() {
    const bool squeezes = to->type == kSqueezeBert;
    for (int i = 0; i < kSizeCount; ++i) {
      const bool own = i == kEmbeddingSize || i >= kGroupsOfQuery;  // of a SqueezeBERT alone
      to->sizes[i] = kDefaults[i];
      if (own && !squeezes) to->sizes[i] = 1;
      if (i == kLayers && to->type == kDistilBert) to->sizes[i] = 6;
      if ((own && !squeezes) || (i == kTypes && to->type == kDistilBert) || !values[i].p) continue;
      const int64_t most = i == kLayers ? kMostLayers : i == kLabels ? kMostLabels : INT32_MAX;
      char expected[60];
      snprintf(expected, sizeof expected, "an integer from 1 to %lld", (long long)most);
      if (!integer(values[i], &to->sizes[i]) || to->sizes[i] < 1 || to->sizes[i] > most) return bad(i, expected);
    }
    const Config &c = *to;
    if (squeezes && c[kEmbeddingSize] != c[kHidden]) return bad(kEmbeddingSize, "that of hidden_size");
    if (c[kHidden] % c[kHeads]) return bad(kHeads, "a divisor of hidden_size");
    for (int i = kGroupsOfQuery; i < kSizeCount; ++i) {
      const bool inner = i == kGroupsOfIntermediate || i == kGroupsOfOutput;
      if (c.sizes[kHidden] % c.sizes[i] || (inner && c.sizes[kInner] % c.sizes[i]))
        return bad(i, inner ? "a divisor of hidden_size and intermediate_size" : "a divisor of hidden_size");
    }
    return SQZ_OK;
  }

  sqz_status others() {
    Chars word;
    if (values[kAct].p) {
      const Activation *found = nullptr;
      const bool is_word = decode(values[kAct], &word);
      for (const Activation &a : kActivations)
        if (is_word && same(word, a.name)) found = &a;
      if (!found) return bad(kAct, "a GELU or relu");
      to->activation = found->activation;
    }
    if (to->type != kDistilBert && values[kEps].p && !(real(values[kEps], &to->eps) && to->eps >= 0 && to->eps <= 1))
      return bad(kEps, "a number from 0 to 1");
    if (to->type == kBert) to->encoder_eps = to->eps;
    if (!absent(values[kProblem])) {
      const bool is_word = decode(values[kProblem], &word);
      for (const char *problem : kProblems)
        if (is_word && same(word, problem)) to->problem = problem;
      if (!to->problem) return bad(kProblem, "null or a problem type of transformers");
    }
    bool flag;
    if (!absent(values[kTie]) && !boolean(values[kTie], &flag)) return bad(kTie, "true or false");
    for (int i = kPositionType; i <= kPruned; ++i)
      if (!falsy(values[i]) && !(i == kPositionType && same(values[i], "\"absolute\"")))
        return bad(i, i == kPositionType ? "\"absolute\", or no such key" : "no such key");
    return SQZ_OK;
  }
};

}  // namespace

sqz_status read_config(const Chars &text, Arena *arena, Config *to) {
  Reader r;
  r.to = to;
  SQZ_TRY(fields(kName, text, kKeyCount, kKeys, r.values));
  for (int i = 0; i < kKeyCount; ++i) r.names[i] = kKeys[i];
  Chars first_class;
  SQZ_TRY(r.architectures(&first_class));
  SQZ_TRY(r.model_type(first_class));
  if (to->type == kDistilBert)
    for (int i = kDim; i <= kActivation; ++i) {
      const int ours = kRenamed[i - kDim];
      if (r.values[i].p) r.values[ours] = r.values[i], r.names[ours] = kKeys[i];
    }
  decode(r.values[kTokenizerClass], &to->tokenizer_class);
  SQZ_TRY(r.sizes());
  SQZ_TRY(r.others());
  return r.labels(arena);
}

sqz_status read_embedding(const Chars &text, Embedding *to) {
  constexpr const char *kEmbeddingKeys[] = {"pooling", "normalize"};
  Chars values[2], item;
  SQZ_TRY(fields("embedding", text, 2, kEmbeddingKeys, values));
  SQZ_CHECK(!values[1].p || boolean(values[1], &to->normalize), "embedding: normalize: expected true or false, got %s",
            Shown(values[1]).s);
  if (absent(values[0])) return SQZ_OK;
  to->count = 0;
  Members all("embedding: pooling", values[0], '[');
  unsigned seen = 0;
  while (all.next(&item, &item)) {
    int found = kPoolingCount;
    if (decode(item, &item))
      for (int i = 0; i < kPoolingCount; ++i)
        if (same(item, kPoolings[i])) found = i;
    SQZ_CHECK(found < kPoolingCount && !(seen >> found & 1),
              "embedding: pooling: expected some of cls, max, mean, each once, got %s", Shown(item).s);
    seen |= 1u << found;
    to->poolings[to->count++] = static_cast<Pooling>(found);
  }
  SQZ_TRY(all.status());
  SQZ_CHECK(to->count > 0, "embedding: pooling: expected some of cls, max, mean, each once, got none");
  return SQZ_OK;
}

}  // namespace sqz::model
