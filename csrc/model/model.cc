// The functions of the C interface that open, describe, run and close a model.
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include <new>

#include "api/call.h"
#include "threading/float_environment.h"

namespace sqz::model {

namespace {

// Without the C++ library there is no operator new of memory.
void destroy(void *object) {
  static_cast<Model *>(object)->~Model();
  deallocate(object);
}

// A model that `fill` builds, behind a handle.
template <class Fill>
sqz_status open(sqz_model *handle, const Fill &fill) {
  SQZ_CHECK(handle, "model: expected a pointer, got NULL");
  FloatEnvironment environment;
  void *memory = allocate(sizeof(Model));
  if (!memory) return fail(SQZ_NO_MEMORY, "model: expected memory, got none");
  Model *model = new (memory) Model;
  sqz_status status = fill(model);
  if (!status) status = handle_open(Model::kHandle, model, handle);
  if (status) destroy(model);
  return status;
}

}  // namespace

const HandleType Model::kHandle = {"model", destroy};

namespace {

sqz_status describe(const Model &m, sqz_model_info *info) {
  const Config &c = m.config;
  info->task = kTasks[m.task];
  info->model_type = kModelTypes[c.type];
  info->dtype = m.dtype;
  info->attention = m.int8_attention ? "int8" : "float32";
  info->problem_type = c.problem;
  info->format = m.contents.version;
  info->normalize = m.embedding.normalize;
  info->vocab_size = c[kVocab];
  info->types = c[kTypes];
  info->max_tokens = longest_of(m);
  info->hidden_size = c[kHidden];
  info->layers = c[kLayers];
  info->labels = c[kLabels];
  info->pooled_size = has_pooler(m) ? c[kHidden] : 0;
  info->logits_size = m.head.linear.c_out;
  info->logits_per_token = m.head.linear.packed && !m.head.dense.packed;
  if (m.task == kMaskedLm) info->logits_per_token = 1;
  info->embedding_size = m.embedding.count * c[kHidden];
  return SQZ_OK;
}

}  // namespace

}  // namespace sqz::model

using namespace sqz;
using namespace sqz::model;

extern "C" {

sqz_status sqz_model_open(const char *path, const char *task, sqz_model *model) {
  return open(model, [&](Model *m) {
    SQZ_TRY(m->bytes.open(path));
    return build(task, m);
  });
}

sqz_status sqz_model_open_memory(const void *data, size_t size, const char *task, sqz_model *model) {
  SQZ_CHECK(data, "data: expected a pointer, got NULL");
  const auto place = static_cast<unsigned>(reinterpret_cast<uintptr_t>(data) % 64);
  SQZ_CHECK(place == 0, "data: expected an address that is a multiple of 64, got 64n + %u", place);
  SQZ_CHECK(size <= PTRDIFF_MAX, "size: expected at most %lld bytes, got %zu", (long long)PTRDIFF_MAX, size);
  return open(model, [&](Model *m) {
    m->bytes.use(data, size);
    return build(task, m);
  });
}

sqz_status sqz_model_open_tensors(const char *config, const char *attention, const char *task, int64_t count,
                                  const sqz_model_tensor *tensors, sqz_model *model) {
  return open(model, [&](Model *m) { return build(config, attention, task, count, tensors, m); });
}

sqz_status sqz_model_close(sqz_model model) { return handle_close(Model::kHandle, model); }

sqz_status sqz_model_get_info(sqz_model model, sqz_model_info *info) {
  const Held<Model> m(model);
  if (!m) return SQZ_INVALID;
  SQZ_CHECK(info, "info: expected a pointer, got NULL");
  sqz_model_info all = {};
  describe(*m, &all);
  all.size = info->size;
  SQZ_CHECK(all.size >= sizeof all.size, "size: expected that of the struct, %zu bytes, got %zu", sizeof all, all.size);
  memcpy(info, &all, all.size < sizeof all ? all.size : sizeof all);
  return SQZ_OK;
}

int64_t sqz_model_label(sqz_model model, int64_t index, char *room, size_t size) {
  const Held<Model> m(model);
  if (!m) return -1;
  const int64_t count = m->config[kLabels];
  if (index < 0 || index >= count || (!room && size > 0)) {
    if (room || size == 0)
      fail(SQZ_INVALID, "index: expected a value in [0, %lld), got %lld", (long long)count, (long long)index);
    else
      fail(SQZ_INVALID, "room: expected a pointer, got NULL");
    return -1;
  }
  if (!m->config.labels) return snprintf(room, size, "LABEL_%d", static_cast<int>(index));
  const Chars &label = m->config.labels[index];
  if (size > 0) {
    const size_t n = static_cast<size_t>(label.n) < size ? static_cast<size_t>(label.n) : size - 1;
    memcpy(room, label.p, n);
    room[n] = '\0';
  }
  return label.n;
}

int64_t sqz_model_workspace_size(sqz_model model, int64_t tokens, int64_t batch, int64_t longest) {
  const Held<Model> m(model);
  if (!m) return -1;
  const struct {
    const char *name;
    int64_t value;
  } sizes[] = {{"tokens", tokens}, {"batch", batch}, {"longest", longest}};
  for (const auto &s : sizes)
    if (s.value < 0 || s.value > INT32_MAX) {
      fail(SQZ_INVALID, "%s: expected a number from 0 to 2^31 - 1, got %lld", s.name, (long long)s.value);
      return -1;
    }
  const int64_t bytes = layout_of(*m, tokens, batch, longest).bytes;
  if (bytes < 0)
    fail(SQZ_NO_MEMORY, "tokens: expected a workspace that memory holds, got one for %lld", (long long)tokens);
  return bytes;
}

sqz_status sqz_model_run(sqz_model_run_args *args) {
  return with_size(args, sizeof *args, 1, false, [](Call &, void *a, int64_t) {
    const sqz_model_run_args &run_args = *static_cast<sqz_model_run_args *>(a);
    const Held<Model> m(run_args.model);
    return m ? run(*m, run_args) : SQZ_INVALID;
  });
}

}  // extern "C"
