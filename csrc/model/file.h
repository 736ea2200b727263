// A converted model in memory: its tensors and its texts. docs/format.md has the format. Everything but the values of
// the weights is checked.
#ifndef SQZ_MODEL_FILE_H_
#define SQZ_MODEL_FILE_H_

#include <stddef.h>
#include <stdint.h>

#include "model/arena.h"
#include "model/json.h"

namespace sqz::model {

// Where a model's bytes are. Those of a path are mapped, or read where there are no mappings.
class Mapping {
 public:
  Mapping() {}
  ~Mapping();
  Mapping(const Mapping &) = delete;
  Mapping &operator=(const Mapping &) = delete;

  sqz_status open(const char *path);
  void use(const void *data, size_t size) { data_ = static_cast<const char *>(data), size_ = size; }
  const char *data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const char *data_ = nullptr;
  size_t size_ = 0;
  void *mapped_ = nullptr, *read_ = nullptr;
};

// What a model is made of, by safetensors' names of the dtypes that a converted model may have. Files may have others,
// for heads that are not used.
enum class Stored : uint8_t { f32, f16, u8, i8, i32, other };

struct Tensor {
  Chars name;
  Stored stored;
  bool used;     // by the model that is opened
  uint8_t item;  // bytes per element
  int32_t rank;
  int64_t shape[2];  // the first sizes
  const char *data;
  int64_t bytes, offset;  // of the data, and from the beginning of the file
};

// Keys of the metadata, and texts that version 1 keeps whole.
enum TextKey {
  kFormat,
  kWriter,
  kRequires,
  kAttention,
  kDtype,
  kTask,
  kConfig,
  kEmbedding,
  kTokenizer,
  kVocabulary,
  kTokenizerConfig,
  kSpecialTokens,
  kAddedTokens,
  kTokenizerJson,
  kTextCount
};
extern const char *const kTextNames[kTextCount];

struct Contents {
  int version = 0;
  bool rotates = false, int8_attention = false;
  int64_t count = 0;
  Tensor *tensors = nullptr;  // (count), by name
  Chars texts[kTextCount];    // decoded; without a pointer if there is none

  // Null if there is no tensor of that name.
  Tensor *find(const char *name) const;
  // Whether the name of a tensor begins so.
  bool has(const char *prefix) const;
};

// Puts the tensors in the order of find(); no two may have one name.
sqz_status sort_by_name(Contents *contents);

// Reads the header. Texts and names stay in `arena`.
sqz_status read_contents(const char *data, size_t size, Arena *arena, Contents *to);

}  // namespace sqz::model

#endif  // SQZ_MODEL_FILE_H_
