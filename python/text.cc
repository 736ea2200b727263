// Tokenizers: squeezeops/backends/_text.py calls these, and knows their arguments. In Python's own interface: pybind11
// would be twice as long in the binary.
#define PY_SSIZE_T_CLEAN
#include <pybind11/pybind11.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "convert.h"

namespace py = pybind11;

namespace squeezeops {

namespace {

// What a format of PyArg_ParseTuple needs for a text in bytes.
struct Bytes {
  const char *data = nullptr;
  Py_ssize_t size = 0;
  sqz_text text() const { return {data, size}; }
  const int32_t *numbers() const { return reinterpret_cast<const int32_t *>(data); }
};

// Calls parse(tuple) for each tuple of a list. False with an exception of Python.
template <class Parse>
bool for_each(PyObject *list, const Parse &parse) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i)
    if (!parse(PyList_GET_ITEM(list, i))) return false;
  return true;
}

bool parse_template(PyObject *list, std::vector<sqz_template_part> *out) {
  return for_each(list, [out](PyObject *item) {
    sqz_template_part part;
    if (!PyArg_ParseTuple(item, "ii", &part.id, &part.type_id)) return false;
    out->push_back(part);
    return true;
  });
}

// Of the fields of a _text.Settings.
PyObject *create(PyObject *, PyObject *settings) {
  sqz_tokenizer_args args = {};
  Bytes vocab, offsets, ids, unk, prefix;
  PyObject *added_list, *single_list, *pair_list;
  int side;
  long long max_chars;
  if (!PyArg_ParseTuple(settings, "y#y#y#ppppy#y#LO!pO!O!i", &vocab.data, &vocab.size, &offsets.data, &offsets.size,
                        &ids.data, &ids.size, &args.lowercase, &args.strip_accents, &args.handle_chinese_chars,
                        &args.clean_text, &unk.data, &unk.size, &prefix.data, &prefix.size, &max_chars, &PyList_Type,
                        &added_list, &args.split_special_tokens, &PyList_Type, &single_list, &PyList_Type, &pair_list,
                        &side))
    return nullptr;
  try {
    std::vector<sqz_added_token> added;
    const bool parsed = for_each(added_list, [&added](PyObject *item) {
      sqz_added_token token;
      Bytes content;
      if (!PyArg_ParseTuple(item, "y#ippppp", &content.data, &content.size, &token.id, &token.single_word,
                            &token.lstrip, &token.rstrip, &token.normalized, &token.special))
        return false;
      token.content = content.text();
      added.push_back(token);
      return true;
    });
    std::vector<sqz_template_part> single, pair;
    if (!parsed || !parse_template(single_list, &single) || !parse_template(pair_list, &pair)) return nullptr;
    args.size = sizeof args;
    args.vocab_bytes = vocab.data;
    args.vocab_offsets = offsets.numbers();
    args.vocab_ids = ids.numbers();
    args.vocab_size = ids.size / static_cast<Py_ssize_t>(sizeof(int32_t));
    args.unk_token = unk.text();
    args.continuing_subword_prefix = prefix.text();
    args.max_input_chars_per_word = max_chars;
    args.added = added.data();
    args.added_count = static_cast<int64_t>(added.size());
    args.single = single.data();
    args.single_count = static_cast<int64_t>(single.size());
    args.pair = pair.data();
    args.pair_count = static_cast<int64_t>(pair.size());
    args.truncation_side = static_cast<sqz_side>(side);
    if (sqz_tokenizer_create(&args) == SQZ_OK) return PyLong_FromUnsignedLongLong(args.tokenizer);
    PyErr_SetString(PyExc_ValueError, sqz_error_message());
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyObject *release(PyObject *, PyObject *tokenizer) {
  sqz_tokenizer_free(PyLong_AsUnsignedLongLong(tokenizer));
  Py_RETURN_NONE;
}

// A reference that is dropped at the end of its scope.
struct Reference {
  PyObject *object;
  explicit Reference(PyObject *o) : object(o) {}
  ~Reference() { Py_XDECREF(object); }
  Reference(const Reference &) = delete;
  Reference &operator=(const Reference &) = delete;
  PyObject *give() {
    PyObject *given = object;
    object = nullptr;
    return given;
  }
};

// A str, or None, as UTF-8, without a copy if it is ASCII. False with an exception of Python.
bool to_utf8(PyObject *str, sqz_text *text, Reference *keep) {
  *text = {nullptr, 0};
  if (str == Py_None) return true;
  if (PyUnicode_IS_COMPACT_ASCII(str)) {
    *text = {reinterpret_cast<const char *>(PyUnicode_1BYTE_DATA(str)), PyUnicode_GET_LENGTH(str)};
    return true;
  }
  keep->object = PyUnicode_AsEncodedString(str, "utf-8", "surrogatepass");
  if (keep->object) *text = {PyBytes_AS_STRING(keep->object), PyBytes_GET_SIZE(keep->object)};
  return keep->object;
}

PyObject *span_of(const int32_t *ends) {
  PyObject *begin = PyLong_FromLong(ends[0]), *end = PyLong_FromLong(ends[1]);
  PyObject *span = begin && end ? PyTuple_New(2) : nullptr;
  if (!span) {
    Py_XDECREF(begin);
    Py_XDECREF(end);
    return nullptr;
  }
  PyTuple_SET_ITEM(span, 0, begin);
  PyTuple_SET_ITEM(span, 1, end);
  // It can be in no cycle. The garbage collector would find that out by itself, in a third of the time of a call.
  PyObject_GC_UnTrack(span);
  return span;
}

// The columns of a row, in the order of `_COLUMNS` in squeezeops/squeezebert/tokenizer/tokenizer.py.
enum Column { kIds, kTypes, kAttention, kSpans, kSpecial, kWords, kSequences, kColumns };
constexpr const char *kNames[] = {"input_ids",           "token_type_ids", "attention_mask", "offset_mapping",
                                  "special_tokens_mask", "word_ids",       "sequence_ids"};
PyObject *names[kColumns];  // the same, interned: compared by address

// Numbers of the tokens of a text, in memory of the stack for usual texts, else of the heap.
struct Numbers {
  sqz_tokenizer_encode_args args = {};

  void make_room(int64_t count) {
    int32_t *all = usual_;
    if (count > kUsual) {
      more_.reset(new int32_t[static_cast<size_t>(6 * count)]);
      all = more_.get();
    }
    args.capacity = count;
    args.ids = all;
    args.type_ids = all + count;
    args.offsets = all + 2 * count;
    args.words = all + 4 * count;
    args.sequences = all + 5 * count;
  }

  PyObject *item(Column column, int64_t i) const {
    switch (column) {
      case kIds: return PyLong_FromLong(args.ids[i]);
      case kTypes: return PyLong_FromLong(args.type_ids[i]);
      case kSpans: return span_of(args.offsets + 2 * i);
      case kSpecial: return PyLong_FromLong(args.sequences[i] < 0);
      case kWords: return or_none(args.words[i]);
      case kSequences: return or_none(args.sequences[i]);
      default: return PyLong_FromLong(1);
    }
  }

  PyObject *list(Column column) const {
    Reference list(PyList_New(static_cast<Py_ssize_t>(args.count)));
    for (int64_t i = 0; list.object && i < args.count; ++i) {
      PyObject *made = item(column, i);
      if (!made) return nullptr;
      PyList_SET_ITEM(list.object, static_cast<Py_ssize_t>(i), made);
    }
    return list.give();
  }

  static constexpr int64_t kUsual = 512;

 private:
  static PyObject *or_none(int32_t n) { return n < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(n); }

  int32_t usual_[6 * kUsual];
  std::unique_ptr<int32_t[]> more_;
};

// f(tokenizer, text, pair or None, special_tokens, truncation, max_length, names of columns): the row of a text, a
// dict; or None if the tokenizer in Python has to say what is wrong.
PyObject *encode(PyObject *, PyObject *const *given, Py_ssize_t count) {
  if (count != 7 || !PyTuple_Check(given[6])) {
    PyErr_SetString(PyExc_TypeError, "tokenizer_encode: expected 7 arguments");
    return nullptr;
  }
  PyObject *const text = given[1], *const pair = given[2];
  if (!PyUnicode_Check(text) || (pair != Py_None && !PyUnicode_Check(pair))) Py_RETURN_NONE;
  Numbers numbers;
  sqz_tokenizer_encode_args &args = numbers.args;
  args.size = sizeof args;
  args.tokenizer = PyLong_AsUnsignedLongLong(given[0]);
  args.without_special_tokens = !PyObject_IsTrue(given[3]);
  args.truncation = static_cast<sqz_truncation>(PyLong_AsLong(given[4]));
  args.max_length = PyLong_AsLongLong(given[5]);
  args.accept_surrogates = 1;
  if (PyErr_Occurred()) return nullptr;
  Reference keep(nullptr), keep_pair(nullptr);
  sqz_text second;
  if (!to_utf8(text, &args.text, &keep) || !to_utf8(pair, &second, &keep_pair)) return nullptr;
  args.pair = pair == Py_None ? nullptr : &second;
  constexpr int64_t kLong = 2048;  // bytes of a text that is worth a switch of threads
  const int64_t bytes = args.text.size + second.size;
  sqz_status status = SQZ_NEEDS_OUT;
  try {
    for (int64_t room = std::max(bytes / 2, Numbers::kUsual); status == SQZ_NEEDS_OUT; room = args.count) {
      numbers.make_room(room);
      status =
          bytes < kLong ? sqz_tokenizer_encode(&args) : without_gil([&args] { return sqz_tokenizer_encode(&args); });
    }
  } catch (const std::bad_alloc &) {
    return PyErr_NoMemory();
  }
  if (status) Py_RETURN_NONE;
  Reference row(PyDict_New());
  for (Py_ssize_t k = 0; row.object && k < PyTuple_GET_SIZE(given[6]); ++k) {
    PyObject *const name = PyTuple_GET_ITEM(given[6], k);
    const auto column = static_cast<Column>(std::find(names, names + kColumns, name) - names);
    if (column == kColumns) {
      PyErr_SetObject(PyExc_KeyError, name);
      return nullptr;
    }
    Reference list(numbers.list(column));
    if (!list.object || PyDict_SetItem(row.object, name, list.object)) return nullptr;
  }
  return row.give();
}

PyMethodDef methods[] = {
    {"tokenizer_create", create, METH_O, nullptr},
    {"tokenizer_free", release, METH_O, nullptr},
    {"tokenizer_encode", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(encode)), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_text(py::module_ &module) {
  for (int k = 0; k < kColumns; ++k) {
    names[k] = PyUnicode_InternFromString(kNames[k]);
    if (!names[k]) throw py::error_already_set();
  }
  if (PyModule_AddFunctions(module.ptr(), methods)) throw py::error_already_set();
}

}  // namespace squeezeops
