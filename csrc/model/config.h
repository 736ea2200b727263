// The model's configuration: the keys of config.json, checked as squeezebert/model/config.py does.
#ifndef SQZ_MODEL_CONFIG_H_
#define SQZ_MODEL_CONFIG_H_

#include <stdint.h>

#include "model/arena.h"
#include "model/json.h"

namespace sqz::model {

// Sizes, in the order of kSizes.
enum Size {
  kVocab,
  kHidden,
  kEmbeddingSize,
  kLayers,
  kHeads,
  kInner,
  kPositions,
  kTypes,
  kLabels,
  kGroupsOfQuery,
  kGroupsOfKey,
  kGroupsOfValue,
  kGroupsOfPostAttention,
  kGroupsOfIntermediate,
  kGroupsOfOutput,
  kSizeCount
};
enum ModelType { kSqueezeBert, kBert, kDistilBert, kModelTypeCount };
enum Task {
  kBase,
  kMaskedLm,
  kTextClassification,
  kMultipleChoice,
  kTokenClassification,
  kQuestionAnswering,
  kTaskCount
};
enum Pooling { kCls, kMax, kMean, kPoolingCount };

extern const char *const kModelTypes[kModelTypeCount];
extern const char *const kTasks[kTaskCount];

struct Config {
  ModelType type = kSqueezeBert;
  int64_t sizes[kSizeCount];
  sqz_activation activation = SQZ_ACT_GELU;
  double eps = 1e-12;             // of the embeddings and of a masked-LM head
  double encoder_eps = 1e-12;     // of the layers
  const char *problem = nullptr;  // "regression", ...; null if there is none
  Task saved_for = kTaskCount;    // by the architecture; kTaskCount if that tells none
  const Chars *labels = nullptr;  // (sizes[kLabels]); null: LABEL_0 and so on
  Chars tokenizer_class;          // of early checkpoints

  int64_t operator[](Size size) const { return sizes[size]; }
};

// Parses `text`, which must live as long as the labels.
sqz_status read_config(const Chars &text, Arena *arena, Config *to);

// How hidden states become an embedding.
struct Embedding {
  int count = 1;  // of the poolings, which are concatenated
  Pooling poolings[kPoolingCount] = {kMean};
  bool normalize = true;
};
sqz_status read_embedding(const Chars &text, Embedding *to);

}  // namespace sqz::model

#endif  // SQZ_MODEL_CONFIG_H_
