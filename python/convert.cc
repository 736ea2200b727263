#include "convert.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <string>

namespace py = pybind11;

namespace squeezeops {

py::object scalars(const char *function) { return py::module_::import("squeezeops.backends._scalars").attr(function); }

double to_real(const char *op, const char *name, py::handle value) {
  if (PyFloat_CheckExact(value.ptr())) return PyFloat_AS_DOUBLE(value.ptr());
  return scalars("real")(op, name, value).cast<double>();
}

namespace {

// NumPy's type numbers and flags, part of its ABI
constexpr int kBool = 0, kInt8 = 1, kUint8 = 2, kInt = 5, kLong = 7, kLongLong = 9, kFloat32 = 11, kFloat16 = 23;
constexpr int kContiguous = 0x1, kWriteable = 0x400;

py::detail::npy_api &numpy() { return py::detail::npy_api::get(); }

sqz_dtype integer_of(size_t size) { return size == 4 ? SQZ_S32 : size == 8 ? SQZ_S64 : SQZ_OTHER; }

sqz_dtype dtype_of(PyObject *descr) {
  const auto *d = py::detail::array_descriptor_proxy(descr);
  // The machine's order has a letter of its own in a dtype that was swapped twice.
  constexpr char kNative = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>';
  if (d->byteorder != '=' && d->byteorder != '|' && d->byteorder != kNative) return SQZ_OTHER;
  switch (d->type_num) {
    case kFloat32: return SQZ_F32;
    case kFloat16: return SQZ_F16;
    case kInt8: return SQZ_S8;
    case kUint8: return SQZ_U8;
    case kBool: return SQZ_BOOL;
    case kInt: return integer_of(sizeof(int));
    case kLong: return integer_of(sizeof(long));
    case kLongLong: return integer_of(sizeof(long long));
    default: return SQZ_OTHER;
  }
}

[[noreturn]] void raise(PyObject *type, const std::string &message, const py::object &argument) {
  const auto error = py::reinterpret_borrow<py::object>(type)(message);
  error.attr("argument") = argument;
  PyErr_SetObject(type, error.ptr());
  throw py::error_already_set();
}

int64_t to_int(const char *op, const char *name, py::handle value) {
  int overflow = 0;
  const long long n = PyLong_CheckExact(value.ptr()) ? PyLong_AsLongLongAndOverflow(value.ptr(), &overflow) : 0;
  if (PyLong_CheckExact(value.ptr()) && !overflow) return n;
  return scalars("int64")(op, name, value).cast<int64_t>();
}

int32_t to_word(const char *op, const sqz_argument &argument, py::handle value) {
  for (int32_t i = 0; i < argument.word_count; ++i) {
    const char *word = argument.words[i];
    if (word ? PyUnicode_Check(value.ptr()) && PyUnicode_CompareWithASCIIString(value.ptr(), word) == 0
             : value.is_none())
      return argument.first_word + i;
  }
  py::tuple words(static_cast<size_t>(argument.word_count));
  for (size_t i = 0; i < words.size(); ++i) words[i] = argument.words[i];
  scalars("choice")(op, argument.name, value, words);  // raises
  throw py::value_error(argument.name);
}

py::tuple shape_of(const sqz_array &array) {
  py::tuple shape(static_cast<size_t>(array.rank));
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = array.shape[i];
  return shape;
}

}  // namespace

void check(const char *op, sqz_status status) {
  if (status == SQZ_OK) return;
  PyObject *type = status == SQZ_TYPE        ? PyExc_TypeError
                   : status == SQZ_NO_MEMORY ? PyExc_MemoryError
                                             : PyExc_ValueError;
  raise(type, std::string(op) + ": " + sqz_error_message(), py::str(sqz_error_argument()));
}

Arguments::~Arguments() {
  for (int i = 0; i < texts_used_; ++i) Py_DECREF(texts_[i]);
  for (int i = 0; i < results_used_; ++i)
    if (results_[i].owned) Py_DECREF(results_[i].object);
}

intptr_t *Arguments::room(int rank) {
  if (rank > kUsualSizes - sizes_used_) return more_sizes_.emplace_back(new intptr_t[static_cast<size_t>(rank)]).get();
  sizes_used_ += rank;
  return sizes_ + sizes_used_ - rank;
}

const intptr_t *Arguments::keep(int rank, const intptr_t *sizes) { return std::copy_n(sizes, rank, room(rank)) - rank; }

const char *Arguments::keep(py::object text) {
  const char *s = PyUnicode_AsUTF8(text.ptr());
  if (!s) throw py::error_already_set();
  texts_[texts_used_++] = text.release().ptr();
  return s;
}

void Arguments::to_array(PyObject *value, sqz_array *array) {
  if (value == Py_None) {
    array->type = "NoneType";
  } else if (!numpy().PyArray_Check_(value)) {
    array->dtype = SQZ_OTHER;  // its type is known already
  } else {
    const auto *a = py::detail::array_proxy(value);
    array->dtype = dtype_of(a->descr);
    array->data = a->data;
    array->rank = a->nd;
    array->shape = keep(a->nd, a->dimensions);
    if (!(a->flags & kContiguous)) array->strides = keep(a->nd, a->strides);
    array->readonly = !(a->flags & kWriteable);
  }
}

void Arguments::name_type(PyObject *value, sqz_array *array) {
  if (value == Py_None) return;
  if (numpy().PyArray_Check_(value) && dtype_of(py::detail::array_proxy(value)->descr) != SQZ_OTHER) return;
  array->type = keep(scalars("array_kind")(py::handle(value)));
}

void Arguments::fill(const sqz_operation &operation, PyObject *const *values, char *args, int first, int last) {
  *reinterpret_cast<size_t *>(args) = operation.size;
  // This runs code of the caller, such as __float__, which may give arrays other memory.
  for (int i = first; i < last; ++i) {
    const sqz_argument &argument = operation.arguments[i];
    PyObject *value = values[i - first];
    char *field = args + argument.offset;
    if (argument.kind == SQZ_ARG_ARRAY || argument.kind == SQZ_ARG_OUT) {
      name_type(value, reinterpret_cast<sqz_array *>(field));
    } else if (argument.kind == SQZ_ARG_WORD) {
      *reinterpret_cast<int32_t *>(field) = to_word(operation.label, argument, value);
    } else if (!argument.optional || value != Py_None) {
      Number *number = numbers_ + numbers_used_++;
      if (argument.kind == SQZ_ARG_INT)
        number->integer = to_int(operation.label, argument.name, value);
      else
        number->real = to_real(operation.label, argument.name, value);
      if (argument.optional)
        *reinterpret_cast<Number **>(field) = number;
      else
        *reinterpret_cast<Number *>(field) = *number;
    }
  }
  // This does not.
  for (int i = first; i < last; ++i) {
    const sqz_argument &argument = operation.arguments[i];
    if (argument.kind != SQZ_ARG_ARRAY && argument.kind != SQZ_ARG_OUT) continue;
    auto *array = reinterpret_cast<sqz_array *>(args + argument.offset);
    to_array(values[i - first], array);
    if (argument.kind == SQZ_ARG_OUT) add_result(values[i - first], array);
  }
}

void Arguments::add_result(PyObject *value, sqz_array *array) {
  results_[results_used_++] = {array, value == Py_None ? nullptr : value, false};
  if (value == Py_None) array->shape = room(array->rank = SQZ_MAX_RANK);
}

void Arguments::fill_results(const sqz_operation &operation, PyObject *value, char *args) {
  Py_ssize_t next = 0;
  for (int i = 0; i < operation.argument_count; ++i) {
    if (operation.arguments[i].kind != SQZ_ARG_OUT) continue;
    auto *array = reinterpret_cast<sqz_array *>(args + operation.arguments[i].offset);
    *array = {};
    PyObject *room = next > 0 ? Py_None : value;
    if (PyTuple_Check(value)) room = next < PyTuple_GET_SIZE(value) ? PyTuple_GET_ITEM(value, next) : Py_None;
    ++next;
    name_type(room, array);
    to_array(room, array);
    add_result(room, array);
  }
}

bool Arguments::has_result() const {
  bool any = false;
  for (int i = 0; i < results_used_; ++i) any = any || results_[i].object;
  return any;
}

void Arguments::allocate(const char *op) {
  for (int i = 0; i < results_used_; ++i) {
    Result &result = results_[i];
    sqz_array &array = *result.array;
    if (result.object || array.dtype == SQZ_NONE) continue;
    PyObject *descr = numpy().PyArray_DescrFromType_(array.dtype == SQZ_U8 ? kUint8 : kFloat32);
    result.object = numpy().PyArray_NewFromDescr_(numpy().PyArray_Type_, descr, array.rank, array.shape, nullptr,
                                                  nullptr, 0, nullptr);
    if (!result.object) {
      PyErr_Clear();
      const std::string shape = py::str(shape_of(array));
      raise(PyExc_MemoryError, std::string(op) + ": expected memory for a result of shape " + shape + ", got none",
            py::none());
    }
    result.owned = true;
    array.data = py::detail::array_proxy(result.object)->data;
  }
}

py::object Arguments::results() const {
  PyObject *found[kMaxArguments];
  size_t count = 0;
  for (int i = 0; i < results_used_; ++i)
    if (results_[i].object) found[count++] = results_[i].object;
  if (count == 0) return py::none();
  if (count == 1) return py::reinterpret_borrow<py::object>(found[0]);
  py::tuple tuple(count);
  for (size_t i = 0; i < count; ++i) tuple[i] = py::handle(found[i]);
  return std::move(tuple);
}

py::list Arguments::missing() const {
  py::list list;
  for (int i = 0; i < results_used_; ++i) {
    const sqz_array &array = *results_[i].array;
    if (results_[i].object || array.dtype == SQZ_NONE) continue;
    list.append(py::make_tuple(array.dtype == SQZ_U8 ? "uint8" : "float32", shape_of(array)));
  }
  return list;
}

}  // namespace squeezeops
