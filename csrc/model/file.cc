#include "model/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/checks.h"

namespace sqz::model {

const char *const kTextNames[kTextCount] = {"squeezeops_format",
                                            "squeezeops_version",
                                            "requires",
                                            "attention",
                                            "dtype",
                                            "task",
                                            "config.json",
                                            "embedding",
                                            "tokenizer",
                                            "vocab.txt",
                                            "tokenizer_config.json",
                                            "special_tokens_map.json",
                                            "added_tokens.json",
                                            "tokenizer.json"};

// ---- the header ----------------------------------------------------------------------------------------------------

namespace {

constexpr int64_t kMaxHeader = 1 << 24;  // bytes; as the reader in Python
constexpr int kMaxTensorRank = 32;       // as the reader in Python
constexpr int kVersion = 2;

sqz_status no_memory(const char *what) { return fail(SQZ_NO_MEMORY, "%s: expected memory, got none", what); }

struct Dtype {
  const char *name;
  Stored stored;
  uint8_t item;
};
constexpr Dtype kDtypes[] = {{"F32", Stored::f32, 4},    {"F16", Stored::f16, 2},   {"U8", Stored::u8, 1},
                             {"I8", Stored::i8, 1},      {"I32", Stored::i32, 4},   {"BF16", Stored::other, 2},
                             {"BOOL", Stored::other, 1}, {"U16", Stored::other, 2}, {"I16", Stored::other, 2},
                             {"U32", Stored::other, 4},  {"U64", Stored::other, 8}, {"I64", Stored::other, 8},
                             {"F64", Stored::other, 8}};

int compare(const Chars &a, const Chars &b) {
  const int order = memcmp(a.p, b.p, static_cast<size_t>(a.n < b.n ? a.n : b.n));
  return order ? order : (a.n > b.n) - (a.n < b.n);
}

int by_place(const void *a, const void *b) {
  const Tensor &x = *static_cast<const Tensor *>(a), &y = *static_cast<const Tensor *>(b);
  if (x.offset != y.offset) return x.offset < y.offset ? -1 : 1;
  return (x.bytes > y.bytes) - (x.bytes < y.bytes);
}

int by_name(const void *a, const void *b) {
  return compare(static_cast<const Tensor *>(a)->name, static_cast<const Tensor *>(b)->name);
}

bool product(int64_t *elements, int64_t size) { return !__builtin_mul_overflow(*elements, size, elements); }

// The entry of a tensor; `data` are the `room` bytes after the header.
sqz_status read_tensor(const Chars &entry, const char *data, int64_t room, Tensor *t) {
  const Shown name(t->name);
  constexpr const char *kNames[] = {"dtype", "shape", "data_offsets"};
  Chars values[3], dtype, item;
  SQZ_TRY(fields(name.s, entry, 3, kNames, values));
  const Dtype *found = nullptr;
  if (decode(values[0], &dtype))
    for (const Dtype &d : kDtypes)
      if (same(dtype, d.name)) found = &d;
  SQZ_CHECK(found, "%s: expected a dtype of safetensors, got %s", name.s, Shown(values[0]).s);
  t->stored = found->stored, t->item = found->item;
  int64_t size, bytes = found->item, most = found->item;  // most: zeros aside
  Members shape(name.s, values[1], '[');
  while (shape.next(&item, &item)) {
    SQZ_CHECK(integer(item, &size) && size >= 0 && t->rank < kMaxTensorRank && product(&most, size ? size : 1),
              "%s: expected at most %d sizes with a product below 2^63, got %s", name.s, kMaxTensorRank,
              Shown(values[1]).s);
    bytes *= size;
    if (t->rank < 2) t->shape[t->rank] = size;
    ++t->rank;
  }
  SQZ_TRY(shape.status());
  int64_t ends[2] = {-1, -1};
  int given = 0;
  Members offsets(name.s, values[2], '[');
  while (offsets.next(&item, &item)) {
    SQZ_CHECK(given < 2 && integer(item, &ends[given]) && ends[given] >= 0,
              "%s: expected two data_offsets, begin <= end, got %s", name.s, Shown(values[2]).s);
    ++given;
  }
  SQZ_TRY(offsets.status());
  SQZ_CHECK(given == 2 && ends[0] <= ends[1] && ends[1] <= room,
            "%s: expected two data_offsets, begin <= end <= %lld, got %s", name.s, (long long)room, Shown(values[2]).s);
  SQZ_CHECK(ends[1] - ends[0] == bytes, "%s: expected %lld bytes for its shape, got %lld", name.s, (long long)bytes,
            (long long)(ends[1] - ends[0]));
  t->data = data + ends[0], t->offset = ends[0], t->bytes = bytes;
  return SQZ_OK;
}

// Tensors must tile the data, without overlaps and gaps, and have different names.
sqz_status check_places(Contents *c, int64_t room) {
  qsort(c->tensors, static_cast<size_t>(c->count), sizeof(Tensor), by_place);
  int64_t position = 0;
  for (int64_t i = 0; i < c->count; ++i) {
    const Tensor &t = c->tensors[i];
    SQZ_CHECK(t.offset == position, "%s: expected data_offsets from %lld, got %lld", Shown(t.name).s,
              (long long)position, (long long)t.offset);
    position += t.bytes;
  }
  SQZ_CHECK(position == room, "data: expected %lld bytes after the header, got %lld", (long long)position,
            (long long)room);
  return sort_by_name(c);
}

// The version, and what version 2 says that a reader must know.
sqz_status check_version(Contents *c) {
  const Chars &format = c->texts[kFormat], &writer = c->texts[kWriter];
  const Shown wrote(writer);
  int64_t version = 0;
  SQZ_CHECK(format.p, "squeezeops_format: expected a file that squeezeops convert wrote, got safetensors without it");
  SQZ_CHECK(format.n < 10 && integer(format, &version) && version >= 1 && *format.p != '0',
            "squeezeops_format: expected '%d', got '%s'", kVersion, Shown(format).s);
  char advice[170];
  snprintf(advice, sizeof advice, "(needs a newer squeezeops%s%s%s)", writer.n ? ", " : "", writer.n ? wrote.s : "",
           writer.n ? " or later" : "");
  SQZ_CHECK(version <= kVersion, "squeezeops_format: expected at most %d, got %lld %s", kVersion, (long long)version,
            advice);
  c->version = static_cast<int>(version);
  if (version == 1) return SQZ_OK;
  const Chars &features = c->texts[kRequires], &attention = c->texts[kAttention];
  SQZ_CHECK(features.p, "requires: expected the features that a reader must know, got none");
  for (int64_t i = 0, begin = 0; i <= features.n; ++i) {
    if (i < features.n && !strchr(" \t\n\r", features.p[i])) continue;
    const Chars word = {features.p + begin, i - begin};
    begin = i + 1;
    if (word.n == 0) continue;
    const bool rotates = same(word, "rotation"), int8_attention = same(word, "int8-attention");
    SQZ_CHECK(rotates || int8_attention, "requires: expected features that this version knows, got '%s' %s",
              Shown(word).s, advice);
    c->rotates = c->rotates || rotates;
    c->int8_attention = c->int8_attention || int8_attention;
  }
  const char *said = c->int8_attention ? "int8" : "float32";
  SQZ_CHECK(same(attention, said), "attention: expected '%s', got '%s' %s", said, Shown(attention).s, advice);
  return SQZ_OK;
}

sqz_status read_texts(const Chars &metadata, Contents *c) {
  Members all("__metadata__", metadata);
  Chars key, value;
  while (all.next(&key, &value)) {
    SQZ_CHECK(*value.p == '"', "__metadata__: expected strings, got %s", Shown(value).s);
    decode(key, &key);
    for (int i = 0; i < kTextCount; ++i) {
      if (!same(key, kTextNames[i])) continue;
      SQZ_CHECK(!c->texts[i].p, "__metadata__: expected every key once, got '%s' twice", kTextNames[i]);
      decode(value, &c->texts[i]);
    }
  }
  return all.status();
}

}  // namespace

sqz_status sort_by_name(Contents *c) {
  qsort(c->tensors, static_cast<size_t>(c->count), sizeof(Tensor), by_name);
  for (int64_t i = 1; i < c->count; ++i)
    SQZ_CHECK(compare(c->tensors[i - 1].name, c->tensors[i].name) != 0, "header: expected every key once, got %s twice",
              Shown(c->tensors[i].name).s);
  return SQZ_OK;
}

Tensor *Contents::find(const char *name) const {
  Tensor key = {};
  key.name = {const_cast<char *>(name), static_cast<int64_t>(strlen(name))};
  return count ? static_cast<Tensor *>(bsearch(&key, tensors, static_cast<size_t>(count), sizeof key, by_name))
               : nullptr;
}

bool Contents::has(const char *prefix) const {
  for (int64_t i = 0; i < count; ++i)
    if (begins(tensors[i].name, prefix)) return true;
  return false;
}

sqz_status read_contents(const char *data, size_t size, Arena *arena, Contents *to) {
  SQZ_CHECK(size >= 8, "data: expected at least 8 bytes, got %zu", size);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(data[i]);
  SQZ_CHECK(length <= kMaxHeader && length <= size - 8, "header: expected at most %llu bytes, got %llu",
            (unsigned long long)(size - 8 < kMaxHeader ? size - 8 : kMaxHeader), (unsigned long long)length);
  Chars text = {arena->take<char>(static_cast<int64_t>(length) + 1), static_cast<int64_t>(length)};
  if (!text.p) return no_memory("header");
  // A copy, because another process may write to the file.
  memcpy(text.p, data + 8, static_cast<size_t>(length));
  SQZ_CHECK(is_utf8(text.p, text.n), "header: expected UTF-8, got other bytes");
  SQZ_CHECK(text.n > 0 && *text.p == '{', "header: expected a JSON object that begins with '{', got none");

  // The shortest entry of a tensor, "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}, has 50 bytes.
  const int64_t most = text.n / 50 + 1;
  Chars key, value, metadata;
  to->tensors = arena->take<Tensor>(most);
  if (!to->tensors) return no_memory("header");
  const int64_t room = static_cast<int64_t>(size - 8 - length);
  Members members("header", text);
  while (members.next(&key, &value)) {
    decode(key, &key);
    if (same(key, "__metadata__")) {
      SQZ_CHECK(!metadata.p, "header: expected every key once, got '__metadata__' twice");
      metadata = value;
      continue;
    }
    SQZ_CHECK(to->count < most, "%s: expected an object with dtype, shape and data_offsets, got %s", Shown(key).s,
              Shown(value).s);
    Tensor &t = to->tensors[to->count++];
    t.name = key;
    SQZ_TRY(read_tensor(value, data + 8 + length, room, &t));
  }
  SQZ_TRY(members.status());
  SQZ_TRY(check_places(to, room));
  if (!absent(metadata)) SQZ_TRY(read_texts(metadata, to));
  return check_version(to);
}

}  // namespace sqz::model
