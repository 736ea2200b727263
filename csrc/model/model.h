// A model as the forward pass reads it. Threads share it: nothing in it changes after it is built.
#ifndef SQZ_MODEL_MODEL_H_
#define SQZ_MODEL_MODEL_H_

#include <atomic>

#include "handles.h"
#include "model/arena.h"
#include "model/config.h"
#include "model/file.h"

namespace sqz::model {

// A packed convolution; without a weight it is not there.
struct Conv {
  sqz_dtype dtype = SQZ_NONE;
  int64_t groups = 1, c_in = 0, c_out = 0;
  const void *packed = nullptr;
  const float *bias = nullptr;
};

struct Norm {
  const float *weight = nullptr, *bias = nullptr;  // (hidden_size)
};

// As the class of the same name in squeezebert/model/layer.py.
struct Layer {
  Conv query, key, value, post_attention, intermediate, output;
  Norm post_attention_norm, output_norm;
  const float *value_scale = nullptr, *value_bias = nullptr;  // for attention in int8
};

struct Table {
  const void *rows = nullptr;
  sqz_dtype dtype = SQZ_NONE;
};

struct Head {
  Conv dense, linear;                        // the pooler or a masked-LM head's first layer; what gives the logits
  sqz_activation activation = SQZ_ACT_NONE;  // of `dense`
  Norm norm;                                 // of a masked-LM head
};

constexpr int kIdleWorkspaces = 8;  // that a model keeps

struct Model {
  static const HandleType kHandle;

  Mapping bytes;
  Arena arena;
  Contents contents;
  Config config;
  Embedding embedding;
  Task task = kBase;
  const char *dtype = "";
  bool int8_attention = false;
  Table words, positions, types;
  Norm embedding_norm;
  const Layer *layers = nullptr;
  Head head;
  mutable std::atomic<sqz_tokenizer> tokenizer{0};  // made at its first use
  mutable std::atomic<void *> idle[kIdleWorkspaces] = {};

  Model() {}
  ~Model() {
    sqz_tokenizer_free(tokenizer);
    for (auto &memory : idle) deallocate(memory.load());
  }
};

// Reads the model from its bytes, which are set. `task`: NULL for the one that it was converted for.
sqz_status build(const char *task, Model *model);
// The same of tensors.
sqz_status build(const char *config, const char *attention, const char *task, int64_t count,
                 const sqz_model_tensor *tensors, Model *model);

// The most tokens of a sequence.
int64_t longest_of(const Model &model);
inline bool has_pooler(const Model &m) { return m.head.dense.packed && m.task != kMaskedLm; }

// Sizes of the memory of a run over so many tokens of so many sequences.
struct Layout {
  int64_t tokens, batch, rows;  // rows: the most that are computed at a time
  int64_t bytes;                // in all; -1 if they overflow
};
Layout layout_of(const Model &model, int64_t tokens, int64_t batch, int64_t longest);

// The model's tokenizer, which it keeps.
sqz_status tokenizer_of(const Model &model, sqz_tokenizer *tokenizer);

sqz_status run(const Model &model, const sqz_model_run_args &args);

}  // namespace sqz::model

#endif  // SQZ_MODEL_MODEL_H_
