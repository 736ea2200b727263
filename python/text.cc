// Tokenizers: squeezeops/backends/_text.py calls these. It knows their arguments, so types are hardly checked.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "convert.h"

namespace py = pybind11;

namespace squeezeops {

namespace {

sqz_text text_of(py::handle bytes) {
  char *data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(bytes.ptr(), &data, &size)) throw py::error_already_set();
  return {data, size};
}

const int32_t *numbers_of(py::handle bytes) { return reinterpret_cast<const int32_t *>(text_of(bytes).data); }

std::vector<sqz_template_part> template_of(const py::sequence &parts) {
  std::vector<sqz_template_part> out;
  for (const py::handle part : parts)
    out.push_back({part[py::int_(0)].cast<int32_t>(), part[py::int_(1)].cast<int32_t>()});
  return out;
}

// Of the fields of a _text.Settings.
uint64_t create(const py::sequence &s) {
  sqz_tokenizer_args args = {};
  args.size = sizeof args;
  args.vocab_bytes = text_of(s[0]).data;
  args.vocab_offsets = numbers_of(s[1]);
  args.vocab_ids = numbers_of(s[2]);
  args.vocab_size = text_of(s[2]).size / static_cast<int64_t>(sizeof(int32_t));
  args.lowercase = s[3].cast<bool>();
  args.strip_accents = s[4].cast<bool>();
  args.handle_chinese_chars = s[5].cast<bool>();
  args.clean_text = s[6].cast<bool>();
  args.unk_token = text_of(s[7]);
  args.continuing_subword_prefix = text_of(s[8]);
  args.max_input_chars_per_word = s[9].cast<int64_t>();
  std::vector<sqz_added_token> added;
  for (const py::handle r : py::sequence(s[10])) {
    const auto flag = [&r](int i) { return static_cast<int32_t>(r[py::int_(i)].cast<bool>()); };
    added.push_back(
        {text_of(r[py::int_(0)]), r[py::int_(1)].cast<int32_t>(), flag(2), flag(3), flag(4), flag(5), flag(6)});
  }
  args.added = added.data();
  args.added_count = static_cast<int64_t>(added.size());
  args.split_special_tokens = s[11].cast<bool>();
  const std::vector<sqz_template_part> single = template_of(s[12]), pair = template_of(s[13]);
  args.single = single.data();
  args.single_count = static_cast<int64_t>(single.size());
  args.pair = pair.data();
  args.pair_count = static_cast<int64_t>(pair.size());
  args.truncation_side = static_cast<sqz_side>(s[14].cast<int>());
  check("Tokenizer", sqz_tokenizer_create(&args));
  return args.tokenizer;
}

// A str, or None, as UTF-8, without a copy if it is ASCII.
class Utf8 {
 public:
  explicit Utf8(PyObject *str) : text_{nullptr, 0} {
    if (str == Py_None) return;
    if (PyUnicode_IS_COMPACT_ASCII(str)) {
      text_ = {reinterpret_cast<const char *>(PyUnicode_1BYTE_DATA(str)), PyUnicode_GET_LENGTH(str)};
      return;
    }
    bytes_ = py::reinterpret_steal<py::object>(PyUnicode_AsEncodedString(str, "utf-8", "surrogatepass"));
    if (!bytes_) throw py::error_already_set();
    text_ = text_of(bytes_);
  }
  const sqz_text &text() const { return text_; }

 private:
  py::object bytes_;
  sqz_text text_;
};

// A list of count objects, which `make` returns new references to.
template <class Make>
py::object list_of(int64_t count, const Make &make) {
  py::object list = py::reinterpret_steal<py::object>(PyList_New(static_cast<Py_ssize_t>(count)));
  if (!list) throw py::error_already_set();
  for (int64_t i = 0; i < count; ++i) {
    PyObject *item = make(i);
    if (!item) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), item);
  }
  return list;
}

// Numbers of tokens in memory of the stack for usual texts, else of the heap.
class Columns {
 public:
  static constexpr int64_t kUsual = 512;

  void reserve(int64_t count) {
    capacity_ = count;
    if (count > kUsual) {
      more_.reset(new int32_t[static_cast<size_t>(6 * count)]);
      all_ = more_.get();
    }
  }
  void give(sqz_tokenizer_encode_args *args, bool alignment) const {
    args->capacity = capacity_;
    args->ids = all_;
    args->type_ids = all_ + capacity_;
    args->offsets = all_ + 2 * capacity_;
    args->words = alignment ? all_ + 4 * capacity_ : nullptr;
    args->sequences = alignment ? all_ + 5 * capacity_ : nullptr;
  }

 private:
  int32_t usual_[6 * kUsual], *all_ = usual_;
  std::unique_ptr<int32_t[]> more_;
  int64_t capacity_ = 0;
};

// Encodes texts into rows: the columns that are asked for, lists of a number per token.
class Rows {
 public:
  Rows(uint64_t tokenizer, bool special_tokens, int truncation, int64_t max_length, bool alignment)
      : alignment_(alignment) {
    args_.size = sizeof args_;
    args_.tokenizer = tokenizer;
    args_.accept_surrogates = 1;
    args_.without_special_tokens = !special_tokens;
    args_.truncation = static_cast<sqz_truncation>(truncation);
    args_.max_length = max_length;
  }
  size_t columns() const { return alignment_ ? 6 : 4; }

  // None if the tokenizer refuses the text.
  py::object row(PyObject *text, PyObject *pair) {
    if (!PyUnicode_Check(text) || (pair != Py_None && !PyUnicode_Check(pair))) return py::none();
    const Utf8 first(text), second(pair);
    args_.text = first.text();
    args_.pair = pair == Py_None ? nullptr : &second.text();
    constexpr int64_t kLong = 2048;  // bytes of a text that is worth a switch of threads
    const int64_t bytes = args_.text.size + second.text().size;
    sqz_status status = SQZ_NEEDS_OUT;
    for (int64_t room = std::max(bytes / 2, Columns::kUsual); status == SQZ_NEEDS_OUT; room = args_.count) {
      columns_.reserve(room);
      columns_.give(&args_, alignment_);
      status =
          bytes < kLong ? sqz_tokenizer_encode(&args_) : without_gil([this] { return sqz_tokenizer_encode(&args_); });
    }
    if (status) return py::none();
    py::tuple row(columns());
    row[0] = list_of(args_.count, [this](int64_t i) { return PyLong_FromLong(args_.ids[i]); });
    row[1] = list_of(args_.count, [this](int64_t i) { return PyLong_FromLong(args_.type_ids[i]); });
    row[2] = list_of(args_.count, [](int64_t) { return PyLong_FromLong(1); });
    row[3] = list_of(args_.count, [this](int64_t i) { return span(args_.offsets[2 * i], args_.offsets[2 * i + 1]); });
    if (alignment_) {
      row[4] = list_of(args_.count, [this](int64_t i) { return number_or_none(args_.words[i]); });
      row[5] = list_of(args_.count, [this](int64_t i) { return number_or_none(args_.sequences[i]); });
    }
    return std::move(row);
  }

 private:
  static PyObject *number_or_none(int32_t n) { return n < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(n); }

  static PyObject *span(int32_t first, int32_t last) {
    PyObject *begin = PyLong_FromLong(first), *end = PyLong_FromLong(last);
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

  const bool alignment_;
  Columns columns_;
  sqz_tokenizer_encode_args args_ = {};
};

// f(tokenizer, text or texts, pair or pairs or None, special_tokens, truncation, max_length, alignment): the columns of
// a text; or those of several, each with a list per text; or None if the tokenizer in Python has to say what is wrong.
py::object encode(PyObject *const *given) {
  const uint64_t tokenizer = PyLong_AsUnsignedLongLong(given[0]);
  const long truncation = PyLong_AsLong(given[4]);
  const long long max_length = PyLong_AsLongLong(given[5]);
  if (PyErr_Occurred()) throw py::error_already_set();
  Rows rows(tokenizer, given[3] == Py_True, static_cast<int>(truncation), max_length, given[6] == Py_True);
  if (!PyTuple_Check(given[1]) && !PyList_Check(given[1])) return rows.row(given[1], given[2]);
  const bool is_pairs = given[2] != Py_None;
  // Tuples, because another thread may change a list.
  const py::tuple texts(py::reinterpret_borrow<py::object>(given[1]));
  const py::tuple pairs = is_pairs ? py::tuple(py::reinterpret_borrow<py::object>(given[2])) : py::tuple();
  if (is_pairs && pairs.size() != texts.size()) return py::none();
  py::tuple columns(rows.columns());
  for (size_t k = 0; k < columns.size(); ++k) columns[k] = py::list(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto at = static_cast<Py_ssize_t>(i);
    const py::object row =
        rows.row(PyTuple_GET_ITEM(texts.ptr(), at), is_pairs ? PyTuple_GET_ITEM(pairs.ptr(), at) : Py_None);
    if (row.is_none()) return row;
    for (size_t k = 0; k < columns.size(); ++k) {
      const auto column = static_cast<Py_ssize_t>(k);
      PyList_SET_ITEM(PyTuple_GET_ITEM(columns.ptr(), column), at, Py_NewRef(PyTuple_GET_ITEM(row.ptr(), column)));
    }
  }
  return std::move(columns);
}

PyObject *encode_entry(PyObject *, PyObject *const *given, Py_ssize_t count) {
  try {
    if (count != 7) throw py::type_error("tokenizer_encode: expected 7 arguments");
    return encode(given).release().ptr();
  } catch (py::error_already_set &error) {
    error.restore();
  } catch (const py::builtin_exception &error) {
    error.set_error();
  } catch (const std::exception &) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyMethodDef encode_method = {"tokenizer_encode",
                             reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(encode_entry)), METH_FASTCALL,
                             nullptr};

}  // namespace

void add_text(py::module_ &module) {
  module.def("tokenizer_create", &create);
  module.def("tokenizer_free", [](uint64_t tokenizer) { sqz_tokenizer_free(tokenizer); });
  PyObject *made = PyCFunction_NewEx(&encode_method, nullptr, py::object(module.attr("__name__")).ptr());
  if (!made) throw py::error_already_set();
  module.attr("tokenizer_encode") = py::reinterpret_steal<py::object>(made);
}

}  // namespace squeezeops
