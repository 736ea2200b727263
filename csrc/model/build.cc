// Finds and checks the tensors of a model, as squeezebert/model/weights.py and heads.py do.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/checks.h"
#include "model/model.h"
#include "run/pwconv.h"

namespace sqz::model {

namespace {

constexpr int kMostExponent = 16;
constexpr int64_t kScaleBytes = 4;  // at the end of a row of an int8 table
constexpr char kWords[] = "embeddings.word_embeddings.weight";
// Prefixes of heads, and of the layer before some. A file may have those of heads that are not used.
constexpr const char *kHeadPrefixes[] = {"cls.", "classifier.", "qa_outputs.", "pre_classifier.", "vocab_", "pooler."};
constexpr const char *kVocabularyTensors[] = {"vocab.bytes", "vocab.offsets", "vocab.ids"};
// Dtypes of a model's convolutions, the most exact first, and how they are stored.
constexpr sqz_dtype kConvDtypes[] = {SQZ_F32, SQZ_F16, SQZ_S8_ROTATED, SQZ_S8};
constexpr Stored kConvStored[] = {Stored::f32, Stored::f16, Stored::i8, Stored::u8};
constexpr const char *kStoredNames[] = {"F32", "F16", "U8", "I8", "I32", "another dtype"};
constexpr const char *kTargets[] = {"float32", "float16", "int8"};
constexpr int kLeastExact[] = {0, 1, 3};  // of kConvDtypes, by target

const char *stored_name(const Tensor &t) { return kStoredNames[static_cast<int>(t.stored)]; }

class Builder {
 public:
  explicit Builder(Model *model) : m_(*model), c_(model->contents), config_(model->config) {}

  // Of tensors, convolutions may have any dtype.
  sqz_status run_tensors(const char *task) {
    least_exact_ = kLeastExact[2];
    return run_any(task);
  }

  sqz_status run(const char *task) {
    int target = -1;
    for (int i = 0; i < 3; ++i)
      if (same(c_.texts[kDtype], kTargets[i])) target = i;
    SQZ_CHECK(target >= 0, "dtype: expected one of 'float32', 'float16', 'int8', got '%s'", Shown(c_.texts[kDtype]).s);
    m_.dtype = kTargets[target];
    least_exact_ = kLeastExact[target];
    SQZ_CHECK(c_.texts[kTask].n > 0, "task: expected the one that the file was converted for, got none");
    SQZ_CHECK(c_.texts[kConfig].p, "config.json: expected a text in the metadata, got none");
    return run_any(task ? task : c_.texts[kTask].p);
  }

 private:
  sqz_status run_any(const char *task) {
    m_.int8_attention = c_.int8_attention;
    SQZ_TRY(read_config(c_.texts[kConfig], &m_.arena, &m_.config));
    if (c_.version > 1 && c_.texts[kEmbedding].p) SQZ_TRY(read_embedding(c_.texts[kEmbedding], &m_.embedding));
    SQZ_TRY(choose_task(task));
    SQZ_TRY(encoder());
    SQZ_TRY(check_heads());
    SQZ_TRY(head());
    return check_all_used();
  }

  // heads.choose_task.
  sqz_status choose_task(const char *wanted) {
    int task = 0;
    while (task < kTaskCount && strcmp(kTasks[task], wanted) != 0) ++task;
    SQZ_CHECK(task < kTaskCount,
              "task: expected base, masked-lm, text-classification, multiple-choice, "
              "token-classification or question-answering, got '%.40s'",
              wanted);
    m_.task = static_cast<Task>(task);
    bool has[kTaskCount] = {true};
    if (c_.has("classifier.")) {
      const bool pools = c_.has("pooler.") || c_.has("pre_classifier.");
      const Task saved = config_.saved_for;
      const bool told =
          saved == kTokenClassification || (pools && (saved == kTextClassification || saved == kMultipleChoice));
      for (const Task t : {kTextClassification, kTokenClassification, kMultipleChoice})
        has[t] = told ? t == saved : pools || t == kTokenClassification;
    }
    has[kQuestionAnswering] = c_.has("qa_outputs.");
    has[kMaskedLm] = c_.has("cls.predictions.") || c_.has("vocab_transform.");
    SQZ_CHECK(has[task], "task: expected one that the checkpoint has a head for, got '%s'", kTasks[task]);
    return SQZ_OK;
  }

  // Limits of attention, which the tensors do not imply.
  sqz_status check_heads() {
    const int64_t heads = config_[kHeads], size = config_[kHidden] / heads;
    const int64_t most = m_.int8_attention ? kMaxByteHead : kMaxHeads;
    SQZ_CHECK(heads <= kMaxHeads && size <= most,
              "num_attention_heads: expected at most 2^24 heads of 2^%d channels, "
              "got %lld of %lld",
              exponent(most), (long long)heads, (long long)size);
    return SQZ_OK;
  }

  sqz_status find(const char *name, Tensor **to) {
    *to = c_.find(name);
    SQZ_CHECK(*to, "%s: expected a tensor, which config.json asks for, got none", name);
    (*to)->used = true;
    return SQZ_OK;
  }

  sqz_status mismatch(const char *name, const char *expected, const Tensor &t) {
    return fail(SQZ_INVALID, "%s: expected %s, got %s of shape (%lld, %lld) with %d axes", name, expected,
                stored_name(t), (long long)t.shape[0], (long long)t.shape[1], t.rank);
  }

  sqz_status aligned(const char *name, const Tensor &t, int64_t step) {
    SQZ_CHECK(reinterpret_cast<uintptr_t>(t.data) % static_cast<uintptr_t>(step) == 0 || t.bytes == 0,
              "%s: expected an offset that is a multiple of %lld, got %lld", name, (long long)step,
              (long long)t.offset);
    return SQZ_OK;
  }

  // A tensor with one axis.
  sqz_status row(const char *name, Stored stored, const char *dtype, int64_t n, Tensor **t) {
    SQZ_TRY(find(name, t));
    char expected[60];
    snprintf(expected, sizeof expected, "%s of shape (%lld,)", dtype, (long long)n);
    const bool good = (*t)->stored == stored && (*t)->rank == 1 && (*t)->shape[0] == n;
    return good ? SQZ_OK : mismatch(name, expected, **t);
  }

  sqz_status vector(const char *name, int64_t n, const float **to) {
    Tensor *t;
    SQZ_TRY(row(name, Stored::f32, "F32", n, &t));
    SQZ_TRY(aligned(name, *t, 4));
    *to = reinterpret_cast<const float *>(t->data);
    return SQZ_OK;
  }

  sqz_status norm(const char *prefix, Norm *to) {
    char name[120];
    snprintf(name, sizeof name, "%s.weight", prefix);
    SQZ_TRY(vector(name, config_[kHidden], &to->weight));
    snprintf(name, sizeof name, "%s.bias", prefix);
    return vector(name, config_[kHidden], &to->bias);
  }

  sqz_status table(const char *name, int64_t rows, Table *to) {
    Tensor *t;
    SQZ_TRY(find(name, &t));
    const int64_t channels = config_[kHidden];
    const bool may_be_int8 = strcmp(name, kWords) == 0 && least_exact_ == kLeastExact[2];
    const bool int8 = may_be_int8 && t->stored == Stored::i8;
    char expected[160];
    snprintf(expected, sizeof expected, "F32 or F16 of shape (%lld, %lld)%s", (long long)rows, (long long)channels,
             may_be_int8 ? ", or I8 with four more columns" : "");
    const bool good = int8 || t->stored == Stored::f32 || t->stored == Stored::f16;
    if (!good || t->rank != 2 || t->shape[0] != rows || t->shape[1] != channels + (int8 ? kScaleBytes : 0))
      return mismatch(name, expected, *t);
    SQZ_TRY(aligned(name, *t, t->item));
    to->rows = t->data;
    to->dtype = int8 ? SQZ_S8 : t->stored == Stored::f32 ? SQZ_F32 : SQZ_F16;
    return SQZ_OK;
  }

  // The convolution of `prefix`; `bias` is the name of another bias, or "" for none.
  sqz_status conv(const char *prefix, int64_t groups, int64_t c_in, int64_t c_out, Conv *to,
                  const char *bias = nullptr) {
    char name[120];
    snprintf(name, sizeof name, "%s.packed", prefix);
    Tensor *t;
    SQZ_TRY(find(name, &t));
    // In the encoder the file's dtype or a more exact one; heads are not quantised.
    const int least = strncmp(prefix, "encoder.", 8) == 0 ? least_exact_ : 1;
    int found = -1;
    for (int i = 0; i <= least; ++i)
      if (kConvStored[i] == t->stored && (kConvDtypes[i] != SQZ_S8_ROTATED || c_.rotates)) found = i;
    if (found < 0) return mismatch(name, "a dtype of the file's or a more exact one", *t);
    SQZ_CHECK(c_in <= kMaxChannels && c_out <= kMaxChannels, "%s: expected at most 2^%d channels, got %lld x %lld",
              name, exponent(kMaxChannels), (long long)c_out, (long long)c_in);
    to->dtype = kConvDtypes[found];
    to->groups = groups, to->c_in = c_in, to->c_out = c_out;
    to->packed = t->data;
    const int64_t size = pwconv_packed_size(to->dtype, groups, c_in, c_out) * t->item;
    SQZ_CHECK(t->rank == 1 && (t->bytes == to_line(size) || (c_.version == 0 && t->bytes == size)),
              "%s: expected %lld bytes in one axis for %lld x %lld in %lld groups, got %lld in %d axes", name,
              (long long)to_line(size), (long long)c_out, (long long)(c_in / groups), (long long)groups,
              (long long)t->bytes, t->rank);
    SQZ_TRY(aligned(name, *t, 64));
    // The other limits are those of the operation.
    const intptr_t shape[] = {static_cast<intptr_t>(size)};
    sqz_use_packed_pointwise_conv_args use = {};
    use.size = sizeof use;
    use.packed.data = const_cast<char *>(t->data), use.packed.dtype = SQZ_U8;
    use.packed.rank = 1, use.packed.shape = shape;
    use.c_in = c_in, use.c_out = c_out, use.groups = groups, use.dtype = to->dtype;
    if (const sqz_status status = sqz_use_packed_pointwise_conv(&use)) {
      char what[300];
      snprintf(what, sizeof what, "%s", sqz_error_message());
      return fail(status, "%s: %s", name, what);
    }
    if (bias && !*bias) return SQZ_OK;
    if (!bias) snprintf(name, sizeof name, "%s.bias", prefix);
    return vector(bias ? bias : name, c_out, &to->bias);
  }

  sqz_status layer(int64_t i, Layer *to) {
    const int64_t c = config_[kHidden], inner = config_[kInner];
    const bool int8 = m_.int8_attention;
    char name[100];
    const auto part = [&](const char *of) {
      snprintf(name, sizeof name, "encoder.layers.%d.%s", static_cast<int>(i), of);
      return name;
    };
    const char *const none = int8 ? "" : nullptr;
    SQZ_TRY(conv(part("attention.query"), config_[kGroupsOfQuery], c, c, &to->query));
    SQZ_TRY(conv(part("attention.key"), config_[kGroupsOfKey], c, c, &to->key, none));
    SQZ_TRY(conv(part("attention.value"), config_[kGroupsOfValue], c, c, &to->value, none));
    SQZ_TRY(conv(part("post_attention.conv1d"), config_[kGroupsOfPostAttention], c, c, &to->post_attention));
    SQZ_TRY(norm(part("post_attention.layernorm"), &to->post_attention_norm));
    SQZ_TRY(conv(part("intermediate.conv1d"), config_[kGroupsOfIntermediate], c, inner, &to->intermediate));
    SQZ_TRY(conv(part("output.conv1d"), config_[kGroupsOfOutput], inner, c, &to->output));
    SQZ_TRY(norm(part("output.layernorm"), &to->output_norm));
    if (!int8) return SQZ_OK;
    const float *key_bias;  // for raw scores alone
    SQZ_TRY(vector(part("attention.key.bias"), c, &key_bias));
    SQZ_TRY(vector(part("attention.value.bias"), c, &to->value_bias));
    return exponents(part("attention.value.exponents"), c, &to->value_scale);
  }

  // Powers of two.
  sqz_status exponents(const char *name, int64_t c, const float **to) {
    Tensor *t;
    SQZ_TRY(row(name, Stored::i8, "I8", c, &t));
    float *scales = m_.arena.take<float>(c);
    if (!scales) return no_memory();
    for (int64_t i = 0; i < c; ++i) {
      const int exponent = static_cast<signed char>(t->data[i]);
      SQZ_CHECK(exponent >= -kMostExponent && exponent <= 0, "%s: expected exponents from -%d to 0, got %d", name,
                kMostExponent, exponent);
      scales[i] = ldexpf(1, exponent);
    }
    *to = scales;
    return SQZ_OK;
  }

  sqz_status encoder() {
    SQZ_TRY(table(kWords, config_[kVocab], &m_.words));
    SQZ_TRY(table("embeddings.position_embeddings.weight", config_[kPositions], &m_.positions));
    if (config_.type == kDistilBert) {  // has no token types: whatever they are, add zeros
      m_.types = {m_.arena.take<float>(config_[kTypes] * config_[kHidden]), SQZ_F32};
      if (!m_.types.rows) return no_memory();
    } else {
      SQZ_TRY(table("embeddings.token_type_embeddings.weight", config_[kTypes], &m_.types));
    }
    SQZ_TRY(norm("embeddings.LayerNorm", &m_.embedding_norm));
    // One after the other: config.json may claim more layers than the file has.
    const int64_t count = config_[kLayers];
    int64_t there = 0;
    for (char name[60]; there < count; ++there) {
      snprintf(name, sizeof name, "encoder.layers.%d.attention.query.packed", static_cast<int>(there));
      Tensor *t;
      SQZ_TRY(find(name, &t));
    }
    Layer *layers = m_.arena.take<Layer>(count);
    if (!layers) return no_memory();
    for (int64_t i = 0; i < count; ++i) {
      layers[i] = Layer();
      SQZ_TRY(layer(i, &layers[i]));
    }
    m_.layers = layers;
    return SQZ_OK;
  }

  sqz_status head() {
    const int64_t c = config_[kHidden], labels = config_[kLabels];
    Head &h = m_.head;
    switch (m_.task) {
      case kBase: h.activation = SQZ_ACT_TANH; return c_.find("pooler.dense.packed") ? dense("pooler.dense") : SQZ_OK;
      case kMaskedLm:
        h.activation = config_.activation;
        SQZ_TRY(dense("cls.predictions.transform.dense"));
        SQZ_TRY(norm("cls.predictions.transform.LayerNorm", &h.norm));
        return conv("cls.predictions.decoder", 1, c, config_[kVocab], &h.linear, "cls.predictions.bias");
      case kTextClassification:
      case kMultipleChoice:
        h.activation = config_.type == kDistilBert ? SQZ_ACT_RELU : SQZ_ACT_TANH;
        SQZ_TRY(dense(config_.type == kDistilBert ? "pre_classifier" : "pooler.dense"));
        return linear("classifier", m_.task == kMultipleChoice ? 1 : labels);
      case kTokenClassification: return linear("classifier", labels);
      default: return linear("qa_outputs", 2);
    }
  }

  sqz_status dense(const char *name) {
    head_names_[0] = name;
    return conv(name, 1, config_[kHidden], config_[kHidden], &m_.head.dense);
  }
  sqz_status linear(const char *name, int64_t outputs) {
    head_names_[1] = name;
    return conv(name, 1, config_[kHidden], outputs, &m_.head.linear);
  }

  // All tensors must be used, those of other heads aside.
  sqz_status check_all_used() {
    if (c_.version > 1)
      for (const char *name : kVocabularyTensors)
        if (Tensor *t = c_.find(name)) t->used = true;
    for (int64_t i = 0; i < c_.count; ++i) {
      const Tensor &t = c_.tensors[i];
      bool known = t.used;
      for (const char *prefix : kHeadPrefixes) {
        bool in_use = false;
        for (const char *own : head_names_) {
          const size_t n = own ? strlen(own) : 0;  // without the dot that a prefix may end in
          in_use = in_use || (own && strncmp(own, prefix, n < strlen(prefix) ? n : strlen(prefix)) == 0);
        }
        known = known || (!in_use && begins(t.name, prefix));
      }
      SQZ_CHECK(known, "tensors: expected those that config.json asks for, got '%s' too", Shown(t.name).s);
    }
    return SQZ_OK;
  }

  static sqz_status no_memory() { return fail(SQZ_NO_MEMORY, "model: expected memory, got none"); }

  Model &m_;
  Contents &c_;
  const Config &config_;
  int least_exact_ = 0;
  const char *head_names_[2] = {};  // of its layers
};

}  // namespace

sqz_status build(const char *task, Model *model) {
  SQZ_TRY(read_contents(model->bytes.data(), model->bytes.size(), &model->arena, &model->contents));
  return Builder(model).run(task);
}

sqz_status build(const char *config, const char *attention, const char *task, int64_t count,
                 const sqz_model_tensor *tensors, Model *model) {
  Contents &c = model->contents;
  SQZ_CHECK(config, "config: expected a pointer, got NULL");
  SQZ_CHECK(attention, "attention: expected a pointer, got NULL");
  SQZ_CHECK(task, "task: expected a pointer, got NULL");
  c.int8_attention = strcmp(attention, "int8") == 0;
  SQZ_CHECK(c.int8_attention || strcmp(attention, "float32") == 0,
            "attention: expected 'float32' or 'int8', got '%.40s'", attention);
  SQZ_CHECK(count >= 0 && count <= INT32_MAX, "count: expected 0 to 2^31 - 1 tensors, got %lld", (long long)count);
  SQZ_CHECK(tensors || count == 0, "tensors: expected a pointer, got NULL");
  Chars &text = c.texts[kConfig];
  text.n = static_cast<int64_t>(strlen(config));
  text.p = model->arena.take<char>(text.n + 1);
  c.tensors = model->arena.take<Tensor>(count);
  if (!text.p || !c.tensors) return fail(SQZ_NO_MEMORY, "model: expected memory, got none");
  memcpy(text.p, config, static_cast<size_t>(text.n));
  SQZ_CHECK(is_utf8(text.p, text.n), "config: expected UTF-8, got other bytes");
  c.rotates = true;
  for (; c.count < count; ++c.count) {
    const sqz_model_tensor &from = tensors[c.count];
    Tensor &t = c.tensors[c.count];
    SQZ_CHECK(from.name && from.data, "tensors[%lld]: expected a name and data, got NULL", (long long)c.count);
    const int64_t n = static_cast<int64_t>(strlen(from.name));
    t.name = {model->arena.take<char>(n + 1), n};
    if (!t.name.p) return fail(SQZ_NO_MEMORY, "model: expected memory, got none");
    memcpy(t.name.p, from.name, static_cast<size_t>(n));
    t.stored = from.dtype == SQZ_F32   ? Stored::f32
               : from.dtype == SQZ_F16 ? Stored::f16
               : from.dtype == SQZ_U8  ? Stored::u8
               : from.dtype == SQZ_S8  ? Stored::i8
                                       : Stored::other;
    t.item = static_cast<uint8_t>(item_size(from.dtype));
    t.rank = from.rank, t.shape[0] = from.shape[0], t.shape[1] = from.shape[1];
    t.bytes = t.item;
    for (int i = 0; i < 2 && i < t.rank; ++i)
      SQZ_CHECK(t.shape[i] >= 0 && multiply(&t.bytes, t.shape[i]),
                "%s: expected sizes >= 0 and fewer than 2^58 bytes, "
                "got (%lld, %lld)",
                Shown(t.name).s, (long long)t.shape[0], (long long)t.shape[1]);
    t.data = static_cast<const char *>(from.data);
  }
  SQZ_TRY(sort_by_name(&c));
  return Builder(model).run_tensors(task);
}

}  // namespace sqz::model
