// The forward pass: the same operations in the same order as squeezebert/model/squeezebert.py, layer.py, heads.py and
// batch.py, which are the specification.
//
// In comments, T is the number of tokens of a part of the batch without padding; N that of the tokens that a layer is
// computed for, which is smaller only in the last; C and F are hidden and intermediate size.
#include <string.h>

#include "api/checks.h"
#include "model/model.h"
#include "run/attention.h"
#include "run/embedding.h"
#include "run/pwconv.h"
#include "run/run.h"

namespace sqz::model {

namespace {

constexpr int64_t kPart = 512;  // tokens computed at a time

// ---- memory --------------------------------------------------------------------------------------------------------

// Hands out memory, each piece at a multiple of 64. Without memory it counts.
struct Pieces {
  char *memory = nullptr;
  int64_t used = 0;
  bool fits = true;

  template <class T>
  T *take(int64_t rows, int64_t width = 1) {
    int64_t bytes, end;
    fits = fits && !__builtin_mul_overflow(rows, width, &bytes) &&
           !__builtin_mul_overflow(bytes, int64_t{sizeof(T)}, &bytes) && !__builtin_add_overflow(used, bytes, &end) &&
           end < INT64_MAX / 2;
    if (!fits) return nullptr;
    T *piece = memory ? reinterpret_cast<T *>(memory + used) : nullptr;
    used = to_line(end);
    return piece;
  }
};

// Rows that attention reads: floats, or quantised with a group per head.
struct Heads {
  float *x = nullptr;
  uint8_t *q = nullptr;
  float *scales = nullptr;
};

// The inputs of all tokens, and the activations of a part; as workspace.py.
struct Workspace {
  int32_t *offsets;                         // of the caller's tokens, (B + 1)
  int32_t *kept;                            // of the tokens without padding, (B + 1)
  int32_t *cu_keys, *cu_queries;            // of a part, (B + 1) each
  int64_t *ids, *types, *positions, *rows;  // (T) each; rows: of the tokens whose logits are wanted
  uint8_t *mask;                            // (T)
  float *x, *context, *chosen, *attended, *wide;
  Heads query, key, value;
  uint8_t *quantized;  // in the place of `wide`
  float *scales;

  Workspace(const Model &m, const Layout &l, Pieces *pieces) {
    const int64_t c = m.config[kHidden], inner = m.config[kInner], heads = m.config[kHeads], n = l.rows;
    offsets = pieces->take<int32_t>(l.batch + 1);
    kept = pieces->take<int32_t>(l.batch + 1);
    cu_keys = pieces->take<int32_t>(l.batch + 1);
    cu_queries = pieces->take<int32_t>(l.batch + 1);
    for (int64_t **to : {&ids, &types, &positions, &rows}) *to = pieces->take<int64_t>(l.tokens);
    mask = pieces->take<uint8_t>(l.tokens);
    x = pieces->take<float>(n, c);
    for (Heads *to : {&query, &key, &value}) {
      if (m.int8_attention) {
        to->q = pieces->take<uint8_t>(n, quantized_width(c, heads));
        to->scales = pieces->take<float>(n, heads);
      } else {
        to->x = pieces->take<float>(n, c);
      }
    }
    context = pieces->take<float>(n, c);
    chosen = pieces->take<float>(n, c);
    attended = m.int8_attention ? pieces->take<float>(n, c) : query.x;
    wide = pieces->take<float>(n, inner);
    quantized = reinterpret_cast<uint8_t *>(wide);  // a group of one channel fills 4 bytes, and no group needs more
    scales = pieces->take<float>(n, m.config[kGroupsOfOutput]);
  }
};

// ---- a part of the batch -------------------------------------------------------------------------------------------

// Whole sequences, of which the arrays without padding begin at `first` and the caller's at `begin`.
struct Part {
  const int32_t *offsets, *kept;  // of its sequences
  int64_t batch, tokens;          // B, T
  int64_t first, begin, end;
  const int32_t *cu_keys;
  const uint8_t *mask;  // (T); null: attend to all
};

// N of the rows of a part; null indices: the first of each sequence.
struct Rows {
  bool all = true;
  int64_t count = 0;
  const int64_t *indices = nullptr;
  const int32_t *cu = nullptr;
};

struct Pass {
  const Model &m;
  const sqz_model_run_args &a;
  const Workspace &w;
  const Part &part;
  int64_t c = m.config[kHidden];

  // Copies rows without padding to their places in the caller's array, and fills the rest with zeros. Without `rows`
  // they are at the begin of these places.
  void spread(float *to, int64_t width, const float *rows) const {
    if (rows && part.tokens == part.end - part.begin) {
      memcpy(to + part.begin * width, rows, bytes(part.tokens, width));
      return;
    }
    const float *from = rows ? rows : to + part.begin * width;
    if (part.tokens == part.end - part.begin) return;
    for (int64_t b = part.batch; b-- > 0;) {  // backwards, so that no row is overwritten before it moves
      const int64_t n = part.kept[b + 1] - part.kept[b], place = part.offsets[b];
      memmove(to + place * width, from + (part.kept[b] - part.first) * width, bytes(n, width));
      memset(to + (place + n) * width, 0, bytes(part.offsets[b + 1] - place - n, width));
    }
  }
  static size_t bytes(int64_t rows, int64_t width) { return static_cast<size_t>(rows * width) * sizeof(float); }

  void gather(const Rows &rows, const float *x, float *out) const {
    for (int64_t i = 0; i < rows.count; ++i) memcpy(out + i * c, x + rows.indices[i] * c, bytes(1, c));
  }

  PwconvPart part_of(const Conv &conv, sqz_activation activation = SQZ_ACT_NONE) const {
    PwconvPart p = {};
    p.dtype = conv.dtype, p.groups = conv.groups, p.c_out = conv.c_out;
    p.packed = conv.packed, p.bias = conv.bias, p.activation = activation;
    return p;
  }
  PwconvPart to_heads(const Conv &conv, const Heads &out) const {
    PwconvPart p = part_of(conv);
    if (m.int8_attention) {
      p.groups_out = m.config[kHeads];
      p.q_out = out.q, p.ldq_out = quantized_width(c, p.groups_out);
      p.scales_out = out.scales;
    } else {
      p.out = out.x, p.ldo = c;
    }
    return p;
  }
  PwconvInput input(int64_t n, const float *x, int64_t width) const {
    PwconvInput in = {};
    in.rows = n, in.c_in = width, in.x = x, in.ldx = width;
    return in;
  }
  sqz_status convolve(const Conv &conv, int64_t n, const float *x, sqz_activation activation, const float *residual,
                      float *out) const {
    PwconvPart p = part_of(conv, activation);
    p.residual = residual, p.ldr = conv.c_out;
    p.out = out, p.ldo = conv.c_out;
    return run_pwconv(input(n, x, conv.c_in), 1, &p);
  }
  sqz_status normalize(const Norm &norm, double eps, int64_t n, float *x) const {
    return sqz_layer_norm_f32(n, c, x, c, nullptr, 0, norm.weight, norm.bias, eps, x, c);
  }

  // [N, C], 2 x [T, C] -> [N, C]
  sqz_status attend(const Layer &layer, const int32_t *cu_queries) const {
    const double scale = sqz_attention_scale(c / m.config[kHeads]);
    if (!m.int8_attention) {
      AttentionArgs t = {};
      t.batch = part.batch, t.q_offsets = cu_queries, t.k_offsets = part.cu_keys;
      t.heads = m.config[kHeads], t.head_size = c / t.heads, t.scale = scale;
      t.q = w.query.x, t.k = w.key.x, t.v = w.value.x, t.out = w.context;
      t.ldq = t.ldk = t.ldv = t.ldo = c;
      if (part.mask) t.mask = part.mask, t.mask_kind = SQZ_MASK_BOOL, t.mask_ragged = 1;
      return run_attention(t);
    }
    AttentionS8Args t = {};
    t.batch = part.batch, t.q_offsets = cu_queries, t.k_offsets = part.cu_keys;
    t.heads = m.config[kHeads], t.head_size = c / t.heads, t.scale = scale;
    t.q = w.query.q, t.k = w.key.q, t.v = w.value.q, t.out = w.context;
    t.ldq = t.ldk = t.ldv = quantized_width(c, t.heads), t.ldo = c;
    t.q_scales = w.query.scales, t.k_scales = w.key.scales, t.v_scales = w.value.scales;
    t.value_scale = layer.value_scale, t.value_bias = layer.value_bias;
    if (part.mask) t.mask = part.mask, t.mask_ragged = 1;
    return run_attention(t);
  }

  // From w.x, for all rows or some, which attend to all of their sequence, to w.x: [T, C] -> [N, C]
  sqz_status run_layer(const Layer &layer, const Rows &rows) const {
    const PwconvPart parts[3] = {to_heads(layer.query, w.query), to_heads(layer.key, w.key),
                                 to_heads(layer.value, w.value)};
    const float *x = w.x;
    int64_t n = part.tokens;
    if (rows.all) {
      SQZ_TRY(run_pwconv(input(n, x, c), 3, parts));  // [T, C] -> 3 x [T, C]
    } else {
      SQZ_TRY(run_pwconv(input(n, x, c), 2, parts + 1));  // [T, C] -> 2 x [T, C]
      n = rows.count;
      gather(rows, x, w.chosen);
      x = w.chosen;
      SQZ_TRY(run_pwconv(input(n, x, c), 1, parts));  // [N, C]
    }
    SQZ_TRY(attend(layer, rows.all ? part.cu_keys : rows.cu));
    SQZ_TRY(convolve(layer.post_attention, n, w.context, SQZ_ACT_NONE, x, w.attended));  // [N, C]
    SQZ_TRY(normalize(layer.post_attention_norm, m.config.encoder_eps, n, w.attended));
    // Quantise what lies between on store.
    const int64_t inner = m.config[kInner];
    PwconvPart up = part_of(layer.intermediate, m.config.activation), down = part_of(layer.output);
    PwconvInput between = input(n, w.wide, inner);
    if (is_int8(layer.intermediate.dtype) && is_int8(layer.output.dtype)) {
      const int64_t groups = layer.output.groups, width = quantized_width(inner, groups);
      up.groups_out = groups, up.rotate_out = layer.output.dtype == SQZ_S8_ROTATED;
      up.q_out = w.quantized, up.ldq_out = width, up.scales_out = w.scales;
      between.x = nullptr, between.groups = groups;
      between.q = w.quantized, between.ldq = width, between.scales = w.scales;
    } else {
      up.out = w.wide, up.ldo = inner;
    }
    down.residual = w.attended, down.ldr = c;
    down.out = w.x, down.ldo = c;
    SQZ_TRY(run_pwconv(input(n, w.attended, c), 1, &up));  // [N, C] -> [N, F]
    SQZ_TRY(run_pwconv(between, 1, &down));                // [N, F] -> [N, C]
    return normalize(layer.output_norm, m.config.encoder_eps, n, w.x);
  }

  // ---- heads: from the encoder's rows x, [N, C] ----

  // [B, C] -> [B, C]
  sqz_status pool(int64_t first_sequence, const float *x, float **to) const {
    *to = a.pooled ? a.pooled + first_sequence * c : w.context;
    return convolve(m.head.dense, part.batch, x, m.head.activation, nullptr, *to);
  }

  // Logits of all tokens, [T, C] -> [T, L] in the caller's places, or of the chosen ones, [N, C] -> [N, L].
  sqz_status classify_tokens(const Rows &chosen, int64_t before, const float *x) const {
    const int64_t outputs = m.head.linear.c_out, n = chosen.all ? part.tokens : chosen.count;
    float *out = a.logits + (chosen.all ? part.begin : before) * outputs;
    SQZ_TRY(convolve(m.head.linear, n, x, SQZ_ACT_NONE, nullptr, out));
    if (chosen.all) spread(a.logits, outputs, nullptr);
    return SQZ_OK;
  }

  sqz_status embed() const {
    const EmbeddingTable tables[3] = {{w.ids + part.first, m.words.rows, m.words.dtype},
                                      {w.positions + part.first, m.positions.rows, m.positions.dtype},
                                      {w.types + part.first, m.types.rows, m.types.dtype}};
    return run_embedding_layer_norm(part.tokens, c, tables, m.embedding_norm.weight, m.embedding_norm.bias,
                                    m.config.eps, w.x, c);  // 3 x [T] -> [T, C]
  }

  // Vectors of sequences, [T, C] -> [B, poolings * C]; as pipelines/feature_extraction.py.
  sqz_status pool_embeddings(int64_t first_sequence) const {
    const int64_t width = m.embedding.count * c;
    for (int64_t b = 0; b < part.batch; ++b) {
      float *out = a.embeddings + (first_sequence + b) * width;
      const int64_t begin = part.cu_keys[b], n = part.cu_keys[b + 1] - begin;
      const int64_t skip = a.unpooled < n ? a.unpooled : n;
      const float *x = w.x + (begin + skip) * c;
      const uint8_t *mask = part.mask ? part.mask + begin + skip : nullptr;
      for (int i = 0; i < m.embedding.count; ++i, out += c) {
        if (m.embedding.poolings[i] == kMean) {
          SQZ_TRY(sqz_mean_pool_f32(1, n - skip, c, x, c, mask, n - skip, out, c));
        } else if (skip == n) {
          memset(out, 0, bytes(1, c));
        } else if (m.embedding.poolings[i] == kCls) {
          memcpy(out, x, bytes(1, c));
        } else {
          largest(n - skip, x, mask, out);
        }
      }
      if (m.embedding.normalize) SQZ_TRY(sqz_l2_normalize_f32(1, width, out - width, width, 1e-12, out - width, width));
    }
    return SQZ_OK;
  }

  // The largest value of each channel. NaN stays; adding 0 makes -0 to 0.
  void largest(int64_t n, const float *x, const uint8_t *mask, float *out) const {
    bool any = false;
    for (int64_t i = 0; i < n; ++i, x += c) {
      if (mask && !mask[i]) continue;
      for (int64_t j = 0; j < c; ++j)
        if (!any || x[j] > out[j] || x[j] != x[j]) out[j] = x[j];
      any = true;
    }
    for (int64_t j = 0; j < c; ++j) out[j] = any ? out[j] + 0.0f : 0.0f;
  }

  // `rows`: those that the head needs. `before`: the number of chosen tokens in the sequences before this part.
  sqz_status run(int64_t first_sequence, const Rows &rows, int64_t before, int64_t all_tokens) const {
    const int64_t layers = m.config[kLayers];
    const bool needs_all = rows.all || a.hidden || a.all_hidden || a.embeddings;
    SQZ_TRY(embed());
    for (int64_t i = 0; i < layers; ++i) {
      if (a.all_hidden) spread(a.all_hidden + i * all_tokens * c, c, w.x);
      SQZ_TRY(run_layer(m.layers[i], i == layers - 1 && !needs_all ? rows : Rows()));
    }
    if (a.all_hidden) spread(a.all_hidden + layers * all_tokens * c, c, w.x);
    if (a.hidden) spread(a.hidden, c, w.x);
    if (a.embeddings) SQZ_TRY(pool_embeddings(first_sequence));
    if (!a.logits && !a.pooled) return SQZ_OK;
    const float *x = w.x;
    if (needs_all && !rows.all) {
      gather(rows, x, w.attended);  // [T, C] -> [N, C]
      x = w.attended;
    }
    switch (m.task) {
      case kMaskedLm: {
        const int64_t n = rows.all ? part.tokens : rows.count;
        SQZ_TRY(convolve(m.head.dense, n, x, m.head.activation, nullptr, w.chosen));  // [N, C]
        SQZ_TRY(normalize(m.head.norm, m.config.eps, n, w.chosen));
        return classify_tokens(rows, before, w.chosen);
      }
      case kBase:
      case kTextClassification:
      case kMultipleChoice: {
        float *pooled;
        SQZ_TRY(pool(first_sequence, x, &pooled));
        if (!a.logits) return SQZ_OK;
        return convolve(m.head.linear, part.batch, pooled, SQZ_ACT_NONE, nullptr,
                        a.logits + first_sequence * m.head.linear.c_out);
      }
      default: return classify_tokens(rows, before, x);
    }
  }
};

// ---- the batch -----------------------------------------------------------------------------------------------------

bool token_logits(const Model &m) { return m.task == kMaskedLm || m.task == kTokenClassification; }

// Memory of a run: the caller's, or that which the model keeps.
struct Lent {
  const Model &m;
  char *memory = nullptr;
  void *own = nullptr;

  explicit Lent(const Model &model) : m(model) {}
  ~Lent() {
    for (auto &place : m.idle) {
      void *none = nullptr;
      if (!own || place.compare_exchange_strong(none, own)) return;
    }
    deallocate(own);
  }

  sqz_status take(const sqz_model_run_args &a, int64_t bytes) {
    if (a.workspace) {
      SQZ_CHECK(static_cast<uint64_t>(bytes) <= a.workspace_size, "workspace_size: expected at least %lld, got %zu",
                (long long)bytes, a.workspace_size);
      const uintptr_t place = reinterpret_cast<uintptr_t>(a.workspace);
      memory = static_cast<char *>(a.workspace) + (64 - place % 64) % 64;
      return SQZ_OK;
    }
    for (auto &place : m.idle) {
      own = place.exchange(nullptr);
      if (own) break;
    }
    // The size is in the first line.
    if (own && *static_cast<int64_t *>(own) < bytes) {
      deallocate(own);
      own = nullptr;
    }
    if (!own) {
      own = bytes <= PTRDIFF_MAX - 64 ? allocate(static_cast<size_t>(bytes) + 64) : nullptr;
      if (!own) return fail(SQZ_NO_MEMORY, "workspace: expected %lld bytes, got none", (long long)bytes);
      *static_cast<int64_t *>(own) = bytes;
    }
    memory = static_cast<char *>(own) + 64;
    return SQZ_OK;
  }
};

// Which sequences there are, read before memory for a copy of their offsets is there.
sqz_status sizes_of(const sqz_model_run_args &a, int64_t *tokens, int64_t *longest) {
  SQZ_CHECK(a.batch >= 0 && a.batch < INT32_MAX, "batch: expected 0 to 2^31 - 2 sequences, got %lld",
            (long long)a.batch);
  if (!a.offsets) {
    SQZ_CHECK(a.length >= 1 || a.batch == 0, "length: expected at least one token, got %lld", (long long)a.length);
    SQZ_CHECK(a.batch == 0 || a.length <= INT32_MAX / a.batch,
              "length: expected fewer than 2^31 tokens in all, got "
              "%lld sequences of %lld",
              (long long)a.batch, (long long)a.length);
    *tokens = a.batch * a.length, *longest = a.batch ? a.length : 0;
    return SQZ_OK;
  }
  int64_t before = 0;
  *longest = 0;
  for (int64_t b = 1; b <= a.batch; ++b) {
    const int64_t end = a.offsets[b];
    if (end - before > *longest) *longest = end - before;
    before = end;
  }
  SQZ_CHECK(before >= 0, "offsets: expected values that do not decrease, got %lld", (long long)before);
  *tokens = before;
  return SQZ_OK;
}

sqz_status check_results(const Model &m, const sqz_model_run_args &a) {
  SQZ_CHECK(!a.logits || m.head.linear.packed, "logits: expected NULL for the task '%s', got a pointer",
            kTasks[m.task]);
  SQZ_CHECK(!a.pooled || has_pooler(m), "pooled: expected NULL for a model without a pooler, got a pointer");
  SQZ_CHECK(!a.logits_mask || token_logits(m), "logits_mask: expected NULL for the task '%s', got a pointer",
            kTasks[m.task]);
  SQZ_CHECK(a.unpooled >= 0, "unpooled: expected a number >= 0, got %lld", (long long)a.unpooled);
  return SQZ_OK;
}

// Copies the inputs and checks the copies. Then drops the padding: the tokens after the last attended one of a
// sequence; one without attended tokens stays whole. `masked`: whether a kept token is not to be attended to. `chosen`:
// the number of tokens whose logits are wanted.
sqz_status pack(const Model &m, const sqz_model_run_args &a, const Layout &l, int64_t longest, const Workspace &w,
                bool *masked, int64_t *chosen) {
  if (!a.offsets) {
    for (int64_t b = 0; b <= l.batch; ++b) w.offsets[b] = static_cast<int32_t>(b * a.length);
  } else {
    memcpy(w.offsets, a.offsets, static_cast<size_t>(l.batch + 1) * sizeof(int32_t));
    SQZ_TRY(ascending("offsets", w.offsets, l.batch));
    SQZ_CHECK(w.offsets[l.batch] == l.tokens, "offsets: expected to end at %lld, got %d", (long long)l.tokens,
              w.offsets[l.batch]);
  }
  for (int64_t b = 0; b < l.batch; ++b) {
    const int64_t n = w.offsets[b + 1] - w.offsets[b];
    SQZ_CHECK(n >= 1 && n <= longest, "offsets: expected sequences of at least one token, got %lld", (long long)n);
  }
  SQZ_CHECK(a.ids || l.tokens == 0, "ids: expected a pointer, got NULL");
  const size_t bytes = static_cast<size_t>(l.tokens) * sizeof(int64_t);
  if (l.tokens) memcpy(w.ids, a.ids, bytes);
  SQZ_TRY(in_range("ids", w.ids, l.tokens, m.config[kVocab]));
  memset(w.types, 0, bytes);
  if (a.type_ids && l.tokens) {
    memcpy(w.types, a.type_ids, bytes);
    SQZ_TRY(in_range("type_ids", w.types, l.tokens, m.config[kTypes]));
  }
  if (a.mask && l.tokens) memcpy(w.mask, a.mask, static_cast<size_t>(l.tokens));
  int64_t to = 0, n = 0;
  *masked = false;
  for (int64_t b = 0; b < l.batch; ++b) {
    const int64_t begin = w.offsets[b], end = w.offsets[b + 1];
    int64_t last = end;
    if (a.mask) {
      while (last > begin && !w.mask[last - 1]) --last;
      if (last == begin) last = end;
    }
    w.kept[b] = static_cast<int32_t>(to);
    for (int64_t i = begin; i < last; ++i, ++to) {
      w.ids[to] = w.ids[i], w.types[to] = w.types[i], w.positions[to] = i - begin;
      if (a.mask) {
        w.mask[to] = w.mask[i] != 0;
        *masked = *masked || !w.mask[to];
      }
      if (a.logits_mask && a.logits_mask[i]) w.rows[n++] = to;
    }
    for (int64_t i = last; a.logits_mask && i < end; ++i)
      SQZ_CHECK(!a.logits_mask[i],
                "logits_mask: expected 0 after the last attended token of a sequence, got %d at "
                "position %lld",
                a.logits_mask[i], (long long)i);
  }
  w.kept[l.batch] = static_cast<int32_t>(to);
  *chosen = n;
  return SQZ_OK;
}

}  // namespace

// Attention in int8 has a limit of its own.
int64_t longest_of(const Model &m) {
  const int64_t most = m.config[kPositions];
  return m.int8_attention && most > kMaxByteKeys ? kMaxByteKeys : most;
}

Layout layout_of(const Model &model, int64_t tokens, int64_t batch, int64_t longest) {
  const int64_t most = longest > kPart ? longest : kPart;
  Layout l = {tokens, batch, tokens < most ? tokens : most, 0};
  Pieces pieces;
  Workspace(model, l, &pieces);
  l.bytes = pieces.fits ? pieces.used + 64 : -1;  // 64: the caller's may begin anywhere
  return l;
}

sqz_status run(const Model &m, const sqz_model_run_args &a) {
  int64_t tokens = 0, longest = 0, chosen = 0;
  bool masked = false;
  SQZ_TRY(check_results(m, a));
  SQZ_TRY(sizes_of(a, &tokens, &longest));
  const int64_t most = longest_of(m);
  SQZ_CHECK(longest <= most, "ids: expected sequences of at most %lld tokens, got %lld", (long long)most,
            (long long)longest);
  const Layout layout = layout_of(m, tokens, a.batch, longest);
  if (layout.bytes < 0)
    return fail(SQZ_NO_MEMORY, "workspace: expected memory for %lld tokens, got none", (long long)tokens);
  Lent lent(m);
  SQZ_TRY(lent.take(a, layout.bytes));
  Pieces pieces;
  pieces.memory = lent.memory;
  const Workspace w(m, layout, &pieces);
  SQZ_TRY(pack(m, a, layout, longest, w, &masked, &chosen));
  const Kernels *kernels;
  SQZ_TRY(begin(Op::layer_norm_f32, &kernels));  // an environment variable may be wrong: before anything is written
  int64_t before = 0;
  for (int64_t b = 0, next; b < a.batch; b = next) {
    next = b + 1;
    while (next < a.batch && w.kept[next + 1] - w.kept[b] <= kPart) ++next;
    Part part = {};
    part.offsets = w.offsets + b, part.kept = w.kept + b, part.batch = next - b;
    part.first = w.kept[b], part.tokens = w.kept[next] - part.first;
    part.begin = w.offsets[b], part.end = w.offsets[next];
    for (int64_t i = b; i <= next; ++i) w.cu_keys[i - b] = w.kept[i] - w.kept[b];
    part.cu_keys = w.cu_keys;
    part.mask = masked ? w.mask + part.first : nullptr;
    Rows rows;
    rows.cu = w.cu_queries;
    if (a.logits_mask) {
      rows.all = false;
      rows.indices = w.rows + before;
      for (int64_t i = 0; i < part.batch; ++i) {
        w.cu_queries[i] = static_cast<int32_t>(rows.count);
        for (; before + rows.count < chosen && w.rows[before + rows.count] < w.kept[b + i + 1]; ++rows.count)
          w.rows[before + rows.count] -= part.first;
      }
      w.cu_queries[part.batch] = static_cast<int32_t>(rows.count);
    } else if (m.task == kBase || m.task == kTextClassification || m.task == kMultipleChoice) {
      rows.all = false;  // the first of each sequence; w.rows is free
      rows.count = part.batch;
      for (int64_t i = 0; i < part.batch; ++i) w.rows[i] = part.cu_keys[i];
      for (int64_t i = 0; i <= part.batch; ++i) w.cu_queries[i] = static_cast<int32_t>(i);
      rows.indices = w.rows;
    }
    const Pass pass = {m, a, w, part};
    SQZ_TRY(pass.run(b, rows, before, tokens));
    if (a.logits_mask) before += rows.count;
  }
  return SQZ_OK;
}

}  // namespace sqz::model
