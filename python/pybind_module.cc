// squeezeops._native: the C interface for NumPy arrays. Arguments are checked here, once; the ops' contracts are stated
// in squeezeops/ops.py, and squeezeops/backends/numpy.py is the specification.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measure/measure.h"
#include "squeezeops/squeezeops.h"

namespace py = pybind11;

namespace {

using Shape = std::vector<py::ssize_t>;

// ---- errors: "op: argument: expected ..., got ..." -----------------------------------------------------------------

std::string where(const char *op, const char *name) { return std::string(op) + ": " + name + ": expected "; }

[[noreturn]] void type_error(const char *op, const char *name, const std::string &expected, const std::string &got) {
  throw py::type_error(where(op, name) + expected + ", got " + got);
}
[[noreturn]] void value_error(const char *op, const char *name, const std::string &expected, const std::string &got) {
  throw py::value_error(where(op, name) + expected + ", got " + got);
}

bool is_array(py::handle h) { return py::detail::npy_api::get().PyArray_Check_(h.ptr()); }

// The dtype of an array, else the class.
std::string kind(py::handle h) {
  return is_array(h) ? py::cast<std::string>(py::str(h.attr("dtype")))
                     : py::cast<std::string>(py::type::handle_of(h).attr("__name__"));
}

std::string text(const Shape &shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}

void check(const char *op, sqz_status status) {
  if (status == SQZ_OK) return;
  const std::string message = std::string(op) + ": " + sqz_error_message();
  if (status == SQZ_NO_MEMORY) {
    PyErr_SetString(PyExc_MemoryError, message.c_str());
    throw py::error_already_set();
  }
  throw py::value_error(message);
}

// Calls f, which takes the GIL: it may run Python code, or release the GIL meanwhile. Up to version 3.13, Python ends a
// thread that takes the GIL while the interpreter shuts down by pthread_exit, which unwinds the stack: our destructors
// would drop references without the GIL. Such a thread waits for the end of the process instead, as in Python 3.14.
// f itself must have nothing to destroy.
template <class F>
auto taking_gil(const F &f) {
  try {
    return f();
  } catch (...) {
    for (;;) pause();
  }
}

// Runs a function of the C interface without the GIL.
template <class F>
void call(const char *op, const F &f) {
  PyThreadState *thread = PyEval_SaveThread();
  const sqz_status status = f();
  taking_gil([&] { PyEval_RestoreThread(thread); });
  check(op, status);
}

// ---- arguments -----------------------------------------------------------------------------------------------------

// NumPy's type numbers, part of its ABI
constexpr int kBool = 0, kInt8 = 1, kUint8 = 2, kFloat32 = 11, kFloat16 = 23;

Shape shape_of(const py::array &a) { return Shape(a.shape(), a.shape() + a.ndim()); }

// -1 for a byte-swapped dtype.
int type_number(const py::array &a) {
  const py::dtype dtype = a.dtype();
  const char order = dtype.byteorder();
  return order == '=' || order == '|' ? dtype.num() : -1;
}
// Not by number: int and long are two types of one size on 32-bit systems, as long and long long are on others.
bool is_integer(const py::array &a, py::ssize_t bytes) {
  return type_number(a) >= 0 && a.dtype().kind() == 'i' && a.itemsize() == bytes;
}
bool is_int32(const py::array &a) { return is_integer(a, 4); }
bool is_int64(const py::array &a) { return is_integer(a, 8); }

constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int kUsable = py::array::c_style | kAligned;

// A copy, C-contiguous and aligned, of dtype `type` (null: its own). Throws where there is no memory for it, which
// py::array::ensure would pass over.
py::array copied(const py::array &a, py::object type = {}) {
  constexpr int kCopy = 0x20;  // NPY_ARRAY_ENSURECOPY
  constexpr int flags = kUsable | kCopy | py::detail::npy_api::NPY_ARRAY_ENSUREARRAY_;
  const auto from_any = py::detail::npy_api::get().PyArray_FromAny_;
  PyObject *copy = taking_gil([&] { return from_any(a.ptr(), type.release().ptr(), 0, 0, flags, nullptr); });
  if (!copy) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(copy);
}

py::array contiguous(const py::array &a) { return (a.flags() & kUsable) == kUsable ? a : copied(a); }

py::array floats(const char *op, const char *name, py::handle h) {
  if (!is_array(h)) type_error(op, name, "an array of float32", kind(h));
  const auto a = py::reinterpret_borrow<py::array>(h);
  if (type_number(a) != kFloat32) type_error(op, name, "an array of float32", kind(h));
  return contiguous(a);
}

// At least one axis, the last to work along; or more.
py::array rows_of(const char *op, const char *name, py::handle h, py::ssize_t axes = 1) {
  py::array a = floats(op, name, h);
  if (a.ndim() < axes)
    value_error(op, name, "at least " + std::to_string(axes) + (axes == 1 ? " dimension" : " dimensions"),
                "shape " + text(shape_of(a)));
  return a;
}

void check_shape(const char *op, const char *name, const py::array &a, const Shape &shape) {
  if (shape_of(a) != shape) value_error(op, name, "shape " + text(shape), text(shape_of(a)));
}

// None, or floats of exactly this shape; `hold` keeps a copy alive.
const float *optional(const char *op, const char *name, py::handle h, const Shape &shape, py::array *hold) {
  if (h.is_none()) return nullptr;
  *hold = floats(op, name, h);
  check_shape(op, name, *hold, shape);
  return static_cast<const float *>(hold->data());
}

// float32 or float16.
py::array halves_or_floats(const char *op, const char *name, py::handle h, sqz_dtype *dtype, const char *more = "") {
  if (is_array(h)) {
    const auto a = py::reinterpret_borrow<py::array>(h);
    const int number = type_number(a);
    if (number == kFloat32 || number == kFloat16) {
      *dtype = number == kFloat16 ? SQZ_F16 : SQZ_F32;
      return contiguous(a);
    }
  }
  type_error(op, name, std::string("an array of float32 or float16") + more, kind(h));
}

struct Table {
  py::array array;
  sqz_dtype dtype = SQZ_F32;
  int64_t channels = 0;
};

Table table_of(const char *op, const char *name, py::handle h, py::ssize_t channels = -1) {
  Table t;
  if (is_array(h) && type_number(py::reinterpret_borrow<py::array>(h)) == kInt8) {
    t.array = contiguous(py::reinterpret_borrow<py::array>(h));
    t.dtype = SQZ_S8;
  } else {
    t.array = halves_or_floats(op, name, h, &t.dtype, " or int8");
  }
  const py::ssize_t scale = t.dtype == SQZ_S8 ? 4 : 0;  // bytes at the end of a row
  if (t.array.ndim() != 2 || t.array.shape(1) < scale || (channels >= 0 && t.array.shape(1) != channels + scale)) {
    const std::string wanted = channels < 0 ? scale ? "channels + 4" : "channels" : std::to_string(channels + scale);
    value_error(op, name, "shape (rows, " + wanted + ")", text(shape_of(t.array)));
  }
  t.channels = t.array.shape(1) - scale;
  return t;
}

// A copy: other threads may write to the array between the check of an id and its use.
py::array ids_of(const char *op, const char *name, py::handle h, const Shape *shape = nullptr) {
  if (is_array(h)) {
    auto a = py::reinterpret_borrow<py::array>(h);
    if (is_int64(a) || is_int32(a)) {
      if (shape) check_shape(op, name, a, *shape);
      return copied(a, py::dtype::of<int64_t>());
    }
  }
  type_error(op, name, "an array of int32 or int64", kind(h));
}

bool is_bool(py::handle h) {
  return PyBool_Check(h.ptr()) || std::string(Py_TYPE(h.ptr())->tp_name).rfind("numpy.bool", 0) == 0;
}

int64_t integer(const char *op, const char *name, py::handle h) {
  if (is_bool(h) || !PyIndex_Check(h.ptr())) type_error(op, name, "an int", kind(h));
  const auto index = py::reinterpret_steal<py::object>(taking_gil([&] { return PyNumber_Index(h.ptr()); }));
  if (!index) {
    PyErr_Clear();
    type_error(op, name, "an int", kind(h));
  }
  const long long n = PyLong_AsLongLong(index.ptr());
  if (n == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    value_error(op, name, "an int below 2^63", py::cast<std::string>(py::str(index)));
  }
  return n;
}

int64_t positive(const char *op, const char *name, py::handle h) {
  const int64_t n = integer(op, name, h);
  if (n < 1) value_error(op, name, "a positive int", std::to_string(n));
  return n;
}

int64_t divisor(const char *op, const char *name, py::handle h, const char *size_name, py::ssize_t size) {
  const int64_t n = positive(op, name, h);
  if (size % n || n > INT64_C(1) << 28)  // zero channels could have any number of groups
    value_error(op, name, std::string("a divisor of ") + size_name + " = " + std::to_string(size), std::to_string(n));
  return n;
}

double real(const char *op, const char *name, py::handle h) {
  PyNumberMethods *number = Py_TYPE(h.ptr())->tp_as_number;
  if (is_bool(h) || is_array(h) || !number || !number->nb_float) type_error(op, name, "a number", kind(h));
  const double value = taking_gil([&] { return PyFloat_AsDouble(h.ptr()); });
  if (value == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    type_error(op, name, "a number", kind(h));
  }
  return value;
}

// One of a few words; nullptr among them stands for None.
int choice(const char *op, const char *name, py::handle h, std::initializer_list<const char *> words) {
  int i = 0;
  for (const char *word : words) {
    if (word ? PyUnicode_Check(h.ptr()) && PyUnicode_CompareWithASCIIString(h.ptr(), word) == 0 : h.is_none()) return i;
    ++i;
  }
  std::string expected = "one of ";
  for (const char *word : words)
    expected += (expected.size() > 7 ? ", " : "") + (word ? "'" + std::string(word) + "'" : std::string("None"));
  value_error(op, name, expected, py::cast<std::string>(py::repr(h)));
}

sqz_activation activation_of(const char *op, py::handle h) {
  return static_cast<sqz_activation>(choice(op, "activation", h, {nullptr, "gelu", "gelu_tanh", "relu", "tanh"}));
}
sqz_fully_masked fully_masked_of(const char *op, py::handle h) {
  return static_cast<sqz_fully_masked>(choice(op, "fully_masked", h, {"uniform", "zero"}));
}

// ---- out -----------------------------------------------------------------------------------------------------------

struct Bounds {
  const char *low, *high;
};

// From the first to after the last byte of an array's elements.
Bounds bounds(const py::array &a) {
  const char *low = static_cast<const char *>(a.data()), *high = low + a.itemsize();
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) == 0) return {low, low};
    const py::ssize_t last = (a.shape(i) - 1) * a.strides(i);
    (last < 0 ? low : high) += last;
  }
  return {low, high};
}

bool overlap(const py::array &a, const py::array &b) {
  const Bounds x = bounds(a), y = bounds(b);
  return x.low < x.high && y.low < y.high && x.low < y.high && y.low < x.high;
}

struct Input {
  const char *name;
  py::handle value;
};

// `out` if it is usable, or a new array. It may be the array `in_place` (argument x) itself, and overlap nothing else.
py::array output(const char *op, py::handle out, const Shape &shape, py::handle in_place,
                 std::initializer_list<Input> inputs, int type = kFloat32) {
  if (out.is_none()) return py::array(py::dtype(type), shape);
  const char *expected = type == kFloat32 ? "an array of float32" : "an array of uint8";
  if (!is_array(out)) type_error(op, "out", expected, kind(out));
  auto a = py::reinterpret_borrow<py::array>(out);
  if (type_number(a) != type) type_error(op, "out", expected, kind(out));
  check_shape(op, "out", a, shape);
  if (!(a.flags() & py::array::c_style))
    value_error(op, "out", "a C-contiguous array", "strides " + text(Shape(a.strides(), a.strides() + a.ndim())));
  if (!(a.flags() & kAligned)) value_error(op, "out", "an aligned array", "an unaligned one");
  if (!a.writeable()) value_error(op, "out", "a writeable array", "a read-only one");
  if (in_place && is_array(in_place)) {
    const auto x = py::reinterpret_borrow<py::array>(in_place);
    const bool same = x.data() == a.data() && shape_of(x) == shape && (x.flags() & py::array::c_style);
    if (!same && overlap(a, x)) value_error(op, "out", "x itself or memory apart from it", "a partial overlap with x");
  }
  for (const Input &input : inputs)
    if (input.value && is_array(input.value) && overlap(a, py::reinterpret_borrow<py::array>(input.value)))
      value_error(op, "out", "memory apart from the inputs", std::string("an overlap with ") + input.name);
  return a;
}

// No array yet; py::array() would make an empty one.
py::array no_array() { return py::reinterpret_steal<py::array>(py::handle()); }

float *writeable(py::array &a) { return static_cast<float *>(a.mutable_data()); }
const float *floats_of(const py::array &a) { return static_cast<const float *>(a.data()); }

// (..., n) as (rows, n)
int64_t rows_in(const Shape &shape) {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

// ---- masks ---------------------------------------------------------------------------------------------------------

struct Mask {
  py::array array;  // C-contiguous
  sqz_mask_kind kind = SQZ_MASK_NONE;
  int64_t strides[4] = {0, 0, 0, 0};  // in elements, of the last four axes of the shape it broadcasts to

  const void *data() const { return kind == SQZ_MASK_NONE ? nullptr : array.data(); }
};

py::array broadcast(const py::array &a, const Shape &shape) {
  const py::module_ numpy = py::module_::import("numpy");
  const py::tuple to = py::tuple(py::cast(shape));
  PyObject *view =
      taking_gil([&] { return PyObject_CallMethod(numpy.ptr(), "broadcast_to", "OO", a.ptr(), to.ptr()); });
  if (!view) throw py::error_already_set();
  return copied(py::reinterpret_steal<py::array>(view));
}

// A bool or float32 mask that broadcasts to `shape`; its last axis is made full.
Mask mask_of(const char *op, py::handle h, const Shape &shape) {
  Mask m;
  if (h.is_none()) return m;
  if (!is_array(h)) type_error(op, "mask", "an array of bool or float32", kind(h));
  auto a = py::reinterpret_borrow<py::array>(h);
  const int number = type_number(a);
  if (number != kBool && number != kFloat32) type_error(op, "mask", "an array of bool or float32", kind(h));
  m.kind = number == kBool ? SQZ_MASK_BOOL : SQZ_MASK_ADD;
  const Shape given = shape_of(a);
  bool fits = given.size() <= shape.size();
  for (size_t i = 0; fits && i < given.size(); ++i) {
    const py::ssize_t size = given[given.size() - 1 - i];
    fits = size == 1 || size == shape[shape.size() - 1 - i];
  }
  if (!fits) value_error(op, "mask", "a shape that broadcasts to " + text(shape), text(given));
  if (given.empty() || given.back() != shape.back()) {
    Shape full = given;
    if (full.empty())
      full = {shape.back()};
    else
      full.back() = shape.back();
    a = broadcast(a, full);
  }
  m.array = contiguous(a);
  int64_t stride = 1;
  for (py::ssize_t i = 0; i < m.array.ndim() && i < 4; ++i) {
    const py::ssize_t size = m.array.shape(m.array.ndim() - 1 - i);
    m.strides[3 - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
  return m;
}

void check_bools(const char *op, const char *name, py::handle h) {
  if (!is_array(h) || type_number(py::reinterpret_borrow<py::array>(h)) != kBool)
    type_error(op, name, "an array of bool", kind(h));
}

// How far apart the rows of a mask for a matrix (..., n) are: 0 if it has one for all, else it is made full.
int64_t row_stride(Mask *mask, const Shape &shape) {
  if (mask->kind == SQZ_MASK_NONE || mask->array.size() == shape.back()) return 0;
  if (shape_of(mask->array) != shape) mask->array = broadcast(mask->array, shape);
  return shape.back();
}

// ---- ops -----------------------------------------------------------------------------------------------------------

py::array layer_norm(py::handle x_, py::handle weight_, py::handle bias_, py::handle eps_, py::handle residual_,
                     py::handle out_) {
  constexpr const char *op = "layer_norm";
  const py::array x = rows_of(op, "x", x_);
  const Shape shape = shape_of(x);
  const int64_t n = shape.back(), rows = rows_in(shape);
  py::array hold[3];
  const float *weight = optional(op, "weight", weight_, {n}, &hold[0]);
  const float *bias = optional(op, "bias", bias_, {n}, &hold[1]);
  const double eps = real(op, "eps", eps_);
  const float *residual = optional(op, "residual", residual_, shape, &hold[2]);
  py::array out = output(op, out_, shape, x_, {{"weight", weight_}, {"bias", bias_}, {"residual", residual_}});
  const float *from = floats_of(x);
  float *to = writeable(out);
  call(op, [&] { return sqz_layer_norm_f32(rows, n, from, n, residual, n, weight, bias, eps, to, n); });
  return out;
}

py::array l2_normalize(py::handle x_, py::handle eps_, py::handle out_) {
  constexpr const char *op = "l2_normalize";
  const py::array x = rows_of(op, "x", x_);
  const Shape shape = shape_of(x);
  const int64_t n = shape.back(), rows = rows_in(shape);
  const double eps = real(op, "eps", eps_);
  py::array out = output(op, out_, shape, x_, {});
  float *to = writeable(out);
  call(op, [&] { return sqz_l2_normalize_f32(rows, n, floats_of(x), n, eps, to, n); });
  return out;
}

py::array softmax(py::handle x_, py::handle mask_, py::handle scale_, py::handle fully_masked_, py::handle out_) {
  constexpr const char *op = "softmax";
  const py::array x = rows_of(op, "x", x_);
  const Shape shape = shape_of(x);
  const int64_t n = shape.back(), rows = rows_in(shape);
  Mask mask = mask_of(op, mask_, shape);
  const double scale = real(op, "scale", scale_);
  const sqz_fully_masked fully_masked = fully_masked_of(op, fully_masked_);
  py::array out = output(op, out_, shape, x_, {{"mask", mask_}});
  const int64_t stride = row_stride(&mask, shape);
  float *to = writeable(out);
  call(op, [&] {
    return sqz_softmax_f32(rows, n, floats_of(x), n, mask.data(), mask.kind, stride, scale, fully_masked, to, n);
  });
  return out;
}

py::array activate(const char *op, sqz_activation activation, py::handle x_, py::handle out_) {
  const py::array x = floats(op, "x", x_);
  py::array out = output(op, out_, shape_of(x), x_, {});
  const int64_t size = x.size();  // here, where no thread can give x another shape meanwhile
  float *to = writeable(out);
  call(op, [&] { return sqz_activation_f32(activation, size, floats_of(x), to); });
  return out;
}

py::array gelu(py::handle x, py::handle approximate, py::handle out) {
  const int word = choice("gelu", "approximate", approximate, {"none", "tanh"});
  return activate("gelu", word == 0 ? SQZ_ACT_GELU : SQZ_ACT_GELU_TANH, x, out);
}

py::array tanh_(py::handle x, py::handle out) { return activate("tanh", SQZ_ACT_TANH, x, out); }

py::array mean_pool(py::handle x_, py::handle mask_, py::handle out_) {
  constexpr const char *op = "mean_pool";
  const py::array x = rows_of(op, "x", x_, 2);
  Shape shape = shape_of(x);
  const int64_t n = shape.back();
  shape.pop_back();
  const int64_t length = shape.back(), batch = rows_in(shape);
  if (!mask_.is_none()) check_bools(op, "mask", mask_);
  Mask mask = mask_of(op, mask_, shape);
  Shape pooled = shape;
  pooled.back() = n;
  py::array out = output(op, out_, pooled, {}, {{"x", x_}, {"mask", mask_}});
  const int64_t stride = row_stride(&mask, shape);
  float *to = writeable(out);
  call(op, [&] {
    return sqz_mean_pool_f32(batch, length, n, floats_of(x), n, static_cast<const uint8_t *>(mask.data()), stride, to,
                             n);
  });
  return out;
}

py::array embedding(py::handle ids_, py::handle table_, py::handle out_) {
  constexpr const char *op = "embedding";
  const Table table = table_of(op, "table", table_);
  const py::array ids = ids_of(op, "ids", ids_);
  const int64_t n = table.channels;
  Shape shape = shape_of(ids);
  shape.push_back(n);
  py::array out = output(op, out_, shape, {}, {{"table", table_}, {"ids", ids_}});
  const int64_t count = ids.size(), rows = table.array.shape(0), *numbers = static_cast<const int64_t *>(ids.data());
  const void *from = table.array.data();
  const sqz_dtype dtype = table.dtype;
  float *to = writeable(out);
  call(op, [&] { return sqz_embedding_f32(count, n, numbers, from, dtype, rows, to, n); });
  return out;
}

py::array embedding_layer_norm(py::handle ids_, py::handle table_, py::handle position_ids_, py::handle position_table_,
                               py::handle type_ids_, py::handle type_table_, py::handle weight_, py::handle bias_,
                               py::handle eps_, py::handle out_) {
  constexpr const char *op = "embedding_layer_norm";
  const Table words = table_of(op, "table", table_);
  const int64_t n = words.channels;
  const Table positions = table_of(op, "position_table", position_table_, n);
  const Table types = table_of(op, "type_table", type_table_, n);
  const py::array ids = ids_of(op, "ids", ids_);
  Shape shape = shape_of(ids);
  const py::array position_ids = ids_of(op, "position_ids", position_ids_, &shape);
  const py::array type_ids = ids_of(op, "type_ids", type_ids_, &shape);
  py::array hold[2];
  const float *weight = optional(op, "weight", weight_, {n}, &hold[0]);
  const float *bias = optional(op, "bias", bias_, {n}, &hold[1]);
  const double eps = real(op, "eps", eps_);
  shape.push_back(n);
  py::array out = output(op, out_, shape, {},
                         {{"ids", ids_},
                          {"table", table_},
                          {"position_ids", position_ids_},
                          {"position_table", position_table_},
                          {"type_ids", type_ids_},
                          {"type_table", type_table_},
                          {"weight", weight_},
                          {"bias", bias_}});
  struct Tables {
    const int64_t *ids[3];
    const void *tables[3];
    sqz_dtype dtypes[3];
    int64_t rows[3];
  };
  const Table *const three[3] = {&words, &positions, &types};
  Tables t = {{static_cast<const int64_t *>(ids.data()), static_cast<const int64_t *>(position_ids.data()),
               static_cast<const int64_t *>(type_ids.data())},
              {},
              {},
              {}};
  for (int i = 0; i < 3; ++i) {
    t.tables[i] = three[i]->array.data();
    t.dtypes[i] = three[i]->dtype;
    t.rows[i] = three[i]->array.shape(0);
  }
  const int64_t count = ids.size();
  float *to = writeable(out);
  call(op, [&] {
    return sqz_embedding_layer_norm_f32(count, n, t.ids, t.tables, t.dtypes, t.rows, weight, bias, eps, to, n);
  });
  return out;
}

// ---- pointwise convolution -----------------------------------------------------------------------------------------

struct Free {
  void operator()(void *p) const { std::free(p); }
};

// A weight packed for the kernels, with its bias.
struct PackedPointwiseConv {
  sqz_dtype dtype;
  int64_t groups, c_in, c_out;
  std::unique_ptr<void, Free> own;  // the memory of `packed`, or
  py::object given;                 // what keeps it
  void *packed;
  std::vector<float> bias;
  bool has_bias;

  const float *bias_or_null() const { return has_bias ? bias.data() : nullptr; }
};

// Bytes of the packed form; below 0 for invalid sizes.
int64_t packed_bytes(const PackedPointwiseConv &p) {
  if (p.dtype == SQZ_S8) return sqz_pwconv_packed_size_s8(p.groups, p.c_in, p.c_out);
  const int64_t half = p.dtype == SQZ_F16;
  const int64_t size = half ? sqz_pwconv_packed_size_f16(p.groups, p.c_in, p.c_out)
                            : sqz_pwconv_packed_size_f32(p.groups, p.c_in, p.c_out);
  return size > std::numeric_limits<std::ptrdiff_t>::max() / 4 ? size : size * (half ? 2 : 4);
}

// The number of groups, which fits the output channels of a weight of the right rank.
int64_t weight_groups(const char *op, const py::array &weight, py::handle groups) {
  const Shape shape = shape_of(weight);
  if (!(shape.size() == 2 || (shape.size() == 3 && shape[2] == 1)))
    value_error(op, "weight", "shape (C_out, C_in / groups) or (C_out, C_in / groups, 1)", text(shape));
  return divisor(op, "groups", groups, "C_out", shape[0]);
}

// A memoryview of our own, which nobody else can release: as long as it lives, the memory is neither resized nor
// closed.
py::object own_view(py::handle buffer) {
  PyObject *view = PyMemoryView_FromObject(buffer.ptr());
  if (!view) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(view);
}

// Where what `memory` gave begins; `hold` keeps it there.
void *buffer_of(const char *op, py::handle piece, py::ssize_t bytes, py::object *hold) {
  constexpr const char *expected = "pieces of writeable memory of the size asked for, at multiples of 64";
  if (!PyObject_CheckBuffer(piece.ptr())) type_error(op, "memory", expected, kind(piece));
  *hold = own_view(piece);
  Py_buffer view;
  if (PyObject_GetBuffer(hold->ptr(), &view, PyBUF_WRITABLE) != 0) {  // in one run, too
    PyErr_Clear();
    value_error(op, "memory", expected, "memory that is read-only or has gaps");
  }
  void *begin = view.buf;
  const py::ssize_t size = view.len;
  PyBuffer_Release(&view);
  if (size < bytes || reinterpret_cast<uintptr_t>(begin) % 64 != 0)
    value_error(op, "memory", expected, std::to_string(size) + " bytes");
  return begin;
}

// `dtype`: of the weight; `storage`: of its packed form
std::unique_ptr<PackedPointwiseConv> pack(const char *op, const py::array &weight, sqz_dtype dtype, py::handle bias_,
                                          int64_t groups, sqz_dtype storage, py::handle memory) {
  const Shape shape = shape_of(weight);
  auto p = std::make_unique<PackedPointwiseConv>();
  p->dtype = storage;
  p->c_out = shape[0];
  p->groups = groups;
  if (shape[1] > 0 && p->groups > (INT64_C(1) << 28) / shape[1])
    value_error(op, "weight", "at most 2^28 input channels",
                std::to_string(p->groups) + " groups of " + std::to_string(shape[1]));
  p->c_in = p->groups * shape[1];
  if (storage == SQZ_S8 && shape[1] > (1 << 17))
    value_error(op, "weight", "at most 2^17 input channels a group for int8", std::to_string(shape[1]));
  py::array hold;
  const float *bias = optional(op, "bias", bias_, {shape[0]}, &hold);
  p->has_bias = bias != nullptr;
  if (bias) p->bias.assign(bias, bias + shape[0]);
  const int64_t bytes = packed_bytes(*p);
  if (bytes < 0) check(op, SQZ_INVALID);
  if (memory.is_none() || bytes == 0) {
    void *own = nullptr;
    if (posix_memalign(&own, 64, static_cast<size_t>(bytes > 0 ? bytes : 64)) != 0) throw std::bad_alloc();
    p->own.reset(own);
    p->packed = own;
  } else {
    PyObject *taken =
        taking_gil([&] { return PyObject_CallMethod(memory.ptr(), "take", "n", static_cast<py::ssize_t>(bytes)); });
    if (!taken) throw py::error_already_set();
    const auto piece = py::reinterpret_steal<py::object>(taken);
    p->packed = buffer_of(op, piece, bytes, &p->given);
  }
  call(op, [&] {
    const void *from = weight.data();
    switch (storage) {
      case SQZ_S8: return sqz_pwconv_pack_s8(p->groups, p->c_in, p->c_out, from, dtype, p->packed);
      case SQZ_F16:
        return sqz_pwconv_pack_f16(p->groups, p->c_in, p->c_out, from, dtype, static_cast<uint16_t *>(p->packed));
      default: return sqz_pwconv_pack_f32(p->groups, p->c_in, p->c_out, from, dtype, static_cast<float *>(p->packed));
    }
  });
  return p;
}

// Quantised rows: a tuple of bytes (..., width) and scales (..., groups).
struct QuantizedRows {
  py::array values = no_array(), scales = no_array();

  py::object pair() const { return py::make_tuple(values, scales); }
};

// uint8, with any axes before the last of `width`, and scales to match.
QuantizedRows quantized_rows(const char *op, const char *name, py::handle h, int64_t width, int64_t groups) {
  const auto pair = py::reinterpret_borrow<py::tuple>(h);
  if (pair.size() != 2) value_error(op, name, "values and scales", std::to_string(pair.size()) + " items");
  const py::handle values = pair[0];
  if (!is_array(values) || type_number(py::reinterpret_borrow<py::array>(values)) != kUint8)
    type_error(op, name, "values of uint8", kind(values));
  QuantizedRows rows = {contiguous(py::reinterpret_borrow<py::array>(values)), floats(op, name, pair[1])};
  Shape shape = shape_of(rows.values);
  if (shape.empty() || shape.back() != width)
    value_error(op, name, "values of shape (..., " + std::to_string(width) + ")", text(shape));
  shape.back() = groups;
  if (shape_of(rows.scales) != shape)
    value_error(op, name, "scales of shape " + text(shape), text(shape_of(rows.scales)));
  return rows;
}

// What convolutions take: floats, or quantised rows with the groups of int8 weights.
struct Rows {
  sqz_pwconv_input args = {};
  py::array x = no_array();
  QuantizedRows rows;
  Shape shape;        // of x, or of what the rows were made from
  py::handle values;  // for overlaps
};

Rows input_of(const char *op, py::handle x_, const PackedPointwiseConv *first) {
  Rows in;
  if (first && first->dtype == SQZ_S8 && PyTuple_Check(x_.ptr())) {
    in.rows = quantized_rows(op, "x", x_, sqz_quantized_width_s8(first->c_in, first->groups), first->groups);
    in.shape = shape_of(in.rows.values);
    in.args.q = static_cast<const uint8_t *>(in.rows.values.data());
    in.args.ldq = in.shape.back();
    in.args.scales = floats_of(in.rows.scales);
    in.args.groups = first->groups;
    in.shape.back() = first->c_in;
    in.values = in.rows.values;
  } else {
    in.x = rows_of(op, "x", x_);
    in.shape = shape_of(in.x);
    in.args.x = floats_of(in.x);
    in.args.ldx = in.shape.back();
    in.values = x_;
  }
  in.args.rows = rows_in(in.shape);
  in.args.c_in = in.shape.back();
  return in;
}

// The part of a weight, for its input; where the result goes is not set.
sqz_pwconv_part part_of(const char *op, const PackedPointwiseConv &p, const Rows &in) {
  if (in.shape.back() != p.c_in) value_error(op, "x", "shape (..., " + std::to_string(p.c_in) + ")", text(in.shape));
  if (in.args.q && (p.dtype != SQZ_S8 || p.groups != in.args.groups))
    value_error(op, "x", "floats for weights of other types and groups", "quantised rows");
  sqz_pwconv_part part = {};
  part.dtype = p.dtype;
  part.groups = p.groups;
  part.c_out = p.c_out;
  part.packed = p.packed;
  part.bias = p.bias_or_null();
  part.activation = SQZ_ACT_NONE;
  part.ldr = part.ldo = p.c_out;
  return part;
}

// Where quantised rows go: to those of `out`, or new arrays.
QuantizedRows quantized_output(const char *op, py::handle out, Shape shape, int64_t groups,
                               std::initializer_list<Input> inputs, sqz_pwconv_part *part) {
  py::object given[2] = {py::none(), py::none()};
  if (!out.is_none()) {
    if (!PyTuple_Check(out.ptr()) || py::len(out) != 2) type_error(op, "out", "quantised rows", kind(out));
    for (size_t i = 0; i < 2; ++i) given[i] = py::reinterpret_borrow<py::tuple>(out)[i];
  }
  shape.back() = part->ldq_out = sqz_quantized_width_s8(shape.back(), groups);
  QuantizedRows rows;
  rows.values = output(op, given[0], shape, {}, inputs, kUint8);
  shape.back() = part->groups_out = groups;
  rows.scales = output(op, given[1], shape, {}, inputs);
  if (overlap(rows.values, rows.scales)) value_error(op, "out", "values apart from scales", "an overlap");
  part->q_out = static_cast<uint8_t *>(rows.values.mutable_data());
  part->scales_out = writeable(rows.scales);
  return rows;
}

py::object convolve(const char *op, const PackedPointwiseConv &p, py::handle x_, py::handle activation_,
                    py::handle residual_, py::handle out_, py::handle weight_, py::handle bias_,
                    py::handle quantize_ = py::none()) {
  const Rows in = input_of(op, x_, &p);
  sqz_pwconv_part part = part_of(op, p, in);
  part.activation = activation_of(op, activation_);
  Shape shape = in.shape;
  shape.back() = p.c_out;
  py::array hold = no_array(), out = no_array();
  part.residual = optional(op, "residual", residual_, shape, &hold);
  const std::initializer_list<Input> inputs = {
      {"x", in.values}, {"x", in.rows.scales}, {"residual", residual_}, {"weight", weight_}, {"bias", bias_}};
  QuantizedRows rows;
  if (quantize_.is_none()) {
    out = output(op, out_, shape, {}, inputs);
    part.out = writeable(out);
  } else {
    if (p.dtype != SQZ_S8) value_error(op, "quantize_groups", "None for a dtype other than int8", kind(quantize_));
    const int64_t groups = divisor(op, "quantize_groups", quantize_, "C_out", p.c_out);
    rows = quantized_output(op, out_, shape, groups, inputs, &part);
  }
  call(op, [&] { return sqz_pwconv(&in.args, 1, &part); });
  return part.q_out ? rows.pair() : py::object(out);
}

py::object pointwise_conv(py::handle x_, py::handle weight_, py::handle bias_, py::handle groups_,
                          py::handle activation_, py::handle residual_, py::handle out_) {
  constexpr const char *op = "pointwise_conv";
  const py::array weight = floats(op, "weight", weight_), x = rows_of(op, "x", x_);
  const py::ssize_t c_in = x.shape(x.ndim() - 1);
  const int64_t groups = weight_groups(op, weight, groups_);
  divisor(op, "groups", groups_, "C_in", c_in);
  if (weight.shape(1) != c_in / groups)
    value_error(op, "weight", "shape (C_out, " + std::to_string(c_in / groups) + ")", text(shape_of(weight)));
  const auto p = pack(op, weight, SQZ_F32, bias_, groups, SQZ_F32, py::none());
  return convolve(op, *p, x_, activation_, residual_, out_, weight_, bias_);
}

std::unique_ptr<PackedPointwiseConv> pack_pointwise_conv(py::handle weight_, py::handle bias, py::handle groups,
                                                         py::handle dtype_, py::handle memory) {
  constexpr const char *op = "PointwiseConv";
  const auto storage = static_cast<sqz_dtype>(choice(op, "dtype", dtype_, {"float32", "float16", "int8"}));
  sqz_dtype dtype;
  const py::array weight = halves_or_floats(op, "weight", weight_, &dtype);
  return pack(op, weight, dtype, bias, weight_groups(op, weight, groups), storage, memory);
}

py::object run_pointwise_conv(py::handle conv, py::handle x, py::handle activation, py::handle residual, py::handle out,
                              py::handle quantize) {
  const auto &p = py::cast<const PackedPointwiseConv &>(conv);
  return convolve("PointwiseConv", p, x, activation, residual, out, {}, {}, quantize);
}

py::object quantize_rows(py::handle x_, py::handle groups_, py::handle out_) {
  constexpr const char *op = "quantize_rows";
  const py::array x = rows_of(op, "x", x_);
  const Shape shape = shape_of(x);
  const int64_t n = shape.back(), groups = divisor(op, "groups", groups_, "C", n);
  if (n > INT64_C(1) << 28) value_error(op, "x", "at most 2^28 channels", std::to_string(n));
  sqz_pwconv_part to = {};
  const QuantizedRows rows = quantized_output(op, out_, shape, groups, {{"x", x_}}, &to);
  const int64_t count = rows_in(shape);
  const float *from = floats_of(x);
  call(op, [&] { return sqz_quantize_rows_s8(count, n, groups, from, n, to.q_out, to.ldq_out, to.scales_out); });
  return rows.pair();
}

// Several of one x; `outs` is None or has an array or None for each.
py::tuple run_pointwise_convs(py::handle convs_, py::handle x_, py::handle outs_) {
  constexpr const char *op = "pointwise_convs";
  const auto convs = py::reinterpret_borrow<py::tuple>(convs_);
  const size_t count = convs.size();
  const Rows in = input_of(op, x_, count > 0 ? &py::cast<const PackedPointwiseConv &>(convs[0]) : nullptr);
  if (!outs_.is_none()) {
    if (!PySequence_Check(outs_.ptr())) type_error(op, "out", "a sequence of arrays", kind(outs_));
    if (py::len(outs_) != count)
      value_error(op, "out", std::to_string(count) + " arrays", std::to_string(py::len(outs_)));
  }
  py::tuple results(count);
  std::vector<sqz_pwconv_part> parts(count);
  Shape shape = in.shape;
  for (size_t i = 0; i < count; ++i) {
    const auto &p = py::cast<const PackedPointwiseConv &>(convs[i]);
    parts[i] = part_of(op, p, in);
    shape.back() = p.c_out;
    const py::object given = outs_.is_none() ? py::none() : py::object(outs_[py::int_(i)]);
    py::array out = output(op, given, shape, {}, {{"x", in.values}, {"x", in.rows.scales}});
    for (size_t j = 0; j < i; ++j)
      if (overlap(out, py::reinterpret_borrow<py::array>(results[j])))
        value_error(op, "out", "memory apart from the inputs", "an overlap with out[" + std::to_string(j) + "]");
    parts[i].out = writeable(out);
    results[i] = std::move(out);
  }
  call(op, [&] { return sqz_pwconv(&in.args, static_cast<int64_t>(parts.size()), parts.data()); });
  return results;
}

// A weight that lies packed in `packed`, read-only bytes of the right size, which is kept and not copied.
std::unique_ptr<PackedPointwiseConv> use_packed_pointwise_conv(py::handle packed, py::handle bias_, int64_t c_in,
                                                               int64_t c_out, int64_t groups, py::handle dtype) {
  constexpr const char *op = "PointwiseConv";
  auto p = std::make_unique<PackedPointwiseConv>();
  p->dtype = static_cast<sqz_dtype>(choice(op, "dtype", dtype, {"float32", "float16", "int8"}));
  p->groups = groups, p->c_in = c_in, p->c_out = c_out;
  p->given = own_view(packed);
  const py::buffer_info info = py::reinterpret_borrow<py::buffer>(p->given).request();
  const auto place = reinterpret_cast<uintptr_t>(info.ptr);
  if (info.size > 0 && place % 64 != 0)
    value_error(op, "packed", "an address that is a multiple of 64", "64n + " + std::to_string(place % 64));
  p->packed = info.ptr;
  py::array hold;
  const float *bias = optional(op, "bias", bias_, {c_out}, &hold);
  p->has_bias = bias != nullptr;
  if (bias) p->bias.assign(bias, bias + c_out);
  return p;
}

// The bytes of the packed weight, read-only; the array keeps the weight.
py::array packed_form(const py::object &handle) {
  const auto &p = py::cast<const PackedPointwiseConv &>(handle);
  py::array_t<uint8_t> bytes(packed_bytes(p), static_cast<const uint8_t *>(p.packed), handle);
  bytes.attr("setflags")(false);
  return bytes;
}

// ---- attention -----------------------------------------------------------------------------------------------------

double attention_scale(const char *op, py::handle scale, int64_t head_size) {
  return scale.is_none() ? sqz_attention_scale(head_size) : real(op, "scale", scale);
}

// 0, length, 2 length, ...
std::vector<int32_t> equal_offsets(const char *op, const char *name, py::ssize_t batch, py::ssize_t length) {
  if (batch > 0 && length > std::numeric_limits<int32_t>::max() / batch)
    value_error(op, name, "fewer than 2^31 rows", std::to_string(batch) + " sequences of " + std::to_string(length));
  std::vector<int32_t> offsets(static_cast<size_t>(batch) + 1);
  for (size_t b = 0; b < offsets.size(); ++b) offsets[b] = static_cast<int32_t>(b * static_cast<size_t>(length));
  return offsets;
}

// q (B, Lq, C) and k (B, Lk, C); the sizes go to `a`.
struct Padded {
  py::array q, k;
  int64_t batch, queries, keys, channels;
  std::vector<int32_t> q_offsets, k_offsets;
};

Padded padded(const char *op, py::handle q_, py::handle k_, py::handle num_heads, sqz_attention_args *a) {
  Padded p;
  p.q = floats(op, "q", q_);
  if (p.q.ndim() != 3) value_error(op, "q", "shape (B, Lq, C)", text(shape_of(p.q)));
  p.k = floats(op, "k", k_);
  p.batch = p.q.shape(0), p.queries = p.q.shape(1), p.channels = p.q.shape(2);
  if (p.k.ndim() != 3 || p.k.shape(0) != p.batch || p.k.shape(2) != p.channels)
    value_error(op, "k", "shape (" + std::to_string(p.batch) + ", Lk, " + std::to_string(p.channels) + ")",
                text(shape_of(p.k)));
  p.keys = p.k.shape(1);
  p.q_offsets = equal_offsets(op, "q", p.batch, p.queries);
  p.k_offsets = equal_offsets(op, "k", p.batch, p.keys);
  a->batch = p.batch;
  a->q_offsets = p.q_offsets.data();
  a->k_offsets = p.k_offsets.data();
  a->heads = divisor(op, "num_heads", num_heads, "C", p.channels);
  a->head_size = p.channels / a->heads;
  a->q = floats_of(p.q);
  a->k = floats_of(p.k);
  a->ldq = a->ldk = a->ldv = a->ldo = p.channels;
  return p;
}

void use_mask(const Mask &mask, sqz_attention_args *a) {
  a->mask = mask.data();
  a->mask_kind = mask.kind;
  for (int i = 0; i < 3; ++i) a->mask_strides[i] = mask.strides[i];
}

py::array attention(py::handle q_, py::handle k_, py::handle v_, py::handle num_heads, py::handle mask_,
                    py::handle scale, py::handle fully_masked, py::handle out_) {
  constexpr const char *op = "attention";
  sqz_attention_args a = {};
  const Padded p = padded(op, q_, k_, num_heads, &a);
  const py::array v = floats(op, "v", v_);
  check_shape(op, "v", v, shape_of(p.k));
  const Mask mask = mask_of(op, mask_, {p.batch, a.heads, p.queries, p.keys});
  use_mask(mask, &a);
  a.scale = attention_scale(op, scale, a.head_size);
  a.fully_masked = fully_masked_of(op, fully_masked);
  py::array out = output(op, out_, shape_of(p.q), {}, {{"q", q_}, {"k", k_}, {"v", v_}, {"mask", mask_}});
  a.v = floats_of(v);
  a.out = writeable(out);
  call(op, [&] { return sqz_attention_f32(&a); });
  return out;
}

py::array attention_scores(py::handle q_, py::handle k_, py::handle num_heads, py::handle mask_, py::handle scale,
                           py::handle out_) {
  constexpr const char *op = "attention_scores";
  sqz_attention_args a = {};
  const Padded p = padded(op, q_, k_, num_heads, &a);
  const Shape shape = {p.batch, a.heads, p.queries, p.keys};
  const Mask mask = mask_of(op, mask_, shape);
  use_mask(mask, &a);
  a.scale = attention_scale(op, scale, a.head_size);
  py::array out = output(op, out_, shape, {}, {{"q", q_}, {"k", k_}, {"mask", mask_}});
  if (out.size() == 0) return out;
  a.scores = writeable(out);
  call(op, [&] { return sqz_attention_f32(&a); });
  return out;
}

// Where the sequences of ragged rows begin, and their total; the C interface would check the start and the order, by
// other names, and does not know the total. A copy, as of ids.
py::array offsets_of(const char *op, const char *name, py::handle h, py::ssize_t total) {
  if (!is_array(h) || !is_int32(py::reinterpret_borrow<py::array>(h)))
    type_error(op, name, "an array of int32", kind(h));
  py::array offsets = copied(py::reinterpret_borrow<py::array>(h));
  if (offsets.ndim() != 1 || offsets.size() == 0) value_error(op, name, "shape (batch + 1,)", text(shape_of(offsets)));
  const int32_t *at = static_cast<const int32_t *>(offsets.data());
  const py::ssize_t batch = offsets.size() - 1;
  if (at[0] != 0) value_error(op, name, "to start at 0", std::to_string(at[0]));
  for (py::ssize_t b = 0; b < batch; ++b)
    if (at[b + 1] < at[b])
      value_error(op, name, "values that do not decrease",
                  std::to_string(at[b + 1]) + " after " + std::to_string(at[b]));
  if (at[batch] != total) value_error(op, name, "to end at " + std::to_string(total), std::to_string(at[batch]));
  return offsets;
}

py::array attention_ragged(py::handle q_, py::handle k_, py::handle v_, py::handle num_heads, py::handle cu_seqlens_,
                           py::handle cu_seqlens_q_, py::handle cu_seqlens_k_, py::handle mask_, py::handle scale,
                           py::handle fully_masked, py::handle out_) {
  constexpr const char *op = "attention";
  const bool both = !cu_seqlens_.is_none();
  if (both && !(cu_seqlens_q_.is_none() && cu_seqlens_k_.is_none()))
    value_error(op, "cu_seqlens", "None next to cu_seqlens_q and cu_seqlens_k", kind(cu_seqlens_));
  const py::array q = floats(op, "q", q_);
  if (q.ndim() != 2) value_error(op, "q", "shape (total, C) with cu_seqlens", text(shape_of(q)));
  const py::array k = floats(op, "k", k_), v = floats(op, "v", v_);
  const Shape shape = shape_of(q);
  if (both) {
    check_shape(op, "k", k, shape);
  } else if (k.ndim() != 2 || k.shape(1) != shape[1]) {
    value_error(op, "k", "shape (total, " + std::to_string(shape[1]) + ")", text(shape_of(k)));
  }
  check_shape(op, "v", v, shape_of(k));
  sqz_attention_args a = {};
  a.heads = divisor(op, "num_heads", num_heads, "C", shape[1]);
  a.head_size = shape[1] / a.heads;

  const py::array queries = both ? offsets_of(op, "cu_seqlens", cu_seqlens_, shape[0])
                                 : offsets_of(op, "cu_seqlens_q", cu_seqlens_q_, shape[0]);
  const py::array keys = both ? queries : offsets_of(op, "cu_seqlens_k", cu_seqlens_k_, k.shape(0));
  if (!both) check_shape(op, "cu_seqlens_q", queries, shape_of(keys));
  a.batch = keys.size() - 1;
  a.q_offsets = static_cast<const int32_t *>(queries.data());
  a.k_offsets = static_cast<const int32_t *>(keys.data());

  py::array mask;
  if (!mask_.is_none()) {
    const int number = is_array(mask_) ? type_number(py::reinterpret_borrow<py::array>(mask_)) : -1;
    if (number != kBool && number != kFloat32) type_error(op, "mask", "an array of bool or float32", kind(mask_));
    mask = contiguous(py::reinterpret_borrow<py::array>(mask_));
    check_shape(op, "mask", mask, {k.shape(0)});
    a.mask = mask.data();
    a.mask_kind = number == kBool ? SQZ_MASK_BOOL : SQZ_MASK_ADD;
    a.mask_ragged = 1;
  }
  a.scale = attention_scale(op, scale, a.head_size);
  a.fully_masked = fully_masked_of(op, fully_masked);
  py::array out = output(op, out_, shape, {},
                         {{"q", q_},
                          {"k", k_},
                          {"v", v_},
                          {"cu_seqlens", cu_seqlens_},
                          {"cu_seqlens_q", cu_seqlens_q_},
                          {"cu_seqlens_k", cu_seqlens_k_},
                          {"mask", mask_}});
  a.q = floats_of(q);
  a.k = floats_of(k);
  a.v = floats_of(v);
  a.out = writeable(out);
  a.ldq = a.ldk = a.ldv = a.ldo = shape[1];
  call(op, [&] { return sqz_attention_f32(&a); });
  return out;
}

// ---- library -------------------------------------------------------------------------------------------------------

py::dict cpu_info() {
  const char *chosen = sqz_isa_chosen();
  if (!chosen) check("cpu_info", SQZ_UNSUPPORTED);
  py::list isas, compiled;
  py::dict missing, kernels, info;
  for (int32_t i = 0; i < sqz_isa_count(); ++i) {
    const char *name = sqz_isa_name(i);
    const sqz_isa_state state = sqz_isa_get_state(i);
    if (state != SQZ_ISA_NOT_COMPILED) compiled.append(name);
    if (state == SQZ_ISA_RUNNABLE) isas.append(name);
    if (state == SQZ_ISA_NOT_COMPILED) missing[name] = "left out of this build: the compiler lacks it";
    if (state == SQZ_ISA_NOT_ON_CPU) missing[name] = "not supported by this processor or operating system";
  }
  for (int32_t i = 0; i < sqz_kernel_count(); ++i) {
    sqz_kernel_info kernel;
    check("cpu_info", sqz_kernel_get_info(i, &kernel));
    const std::string op = kernel.op, dtype = kernel.dtype;
    if (kernel.in_use) kernels[py::str(dtype == "f32" ? op : op + "_" + dtype)] = kernel.symbol;
  }
  info["isas"] = isas;
  info["compiled"] = compiled;
  info["missing"] = missing;
  info["isa"] = chosen;
  info["kernels"] = kernels;
  return info;
}

// Every row of the table of kernels, for the tests and benches that must cover them all.
py::list kernel_table() {
  py::list rows;
  for (int32_t i = 0; i < sqz_kernel_count(); ++i) {
    sqz_kernel_info k;
    check("kernel_table", sqz_kernel_get_info(i, &k));
    rows.append(py::dict(py::arg("op") = k.op, py::arg("dtype") = k.dtype, py::arg("isa") = k.isa,
                         py::arg("tile") = k.tile, py::arg("symbol") = k.symbol));
  }
  return rows;
}

void set_num_threads(py::handle n_) {
  constexpr const char *op = "set_num_threads";
  const int64_t n = positive(op, "n", n_);
  check(op, sqz_set_num_threads(n));
}

int get_num_threads() {
  const int n = sqz_get_num_threads();
  if (n < 0) check("get_num_threads", SQZ_INVALID);
  return n;
}

// Operations in a second; private to the benchmarks, as peak_read is.
double peak_of(const char *op, sqz_status (*measure)(double, double *), py::handle seconds_) {
  const double seconds = real(op, "seconds", seconds_);
  double rate = 0;
  call(op, [&] { return measure(seconds, &rate); });
  return rate;
}
double peak_fma(py::handle seconds) { return peak_of("peak_fma", sqz_measure_fma, seconds); }
double peak_s8(py::handle seconds) { return peak_of("peak_s8", sqz_measure_s8, seconds); }

// Bytes in a second.
double peak_read(py::handle x_) {
  constexpr const char *op = "peak_read";
  const py::array x = floats(op, "x", x_);
  double rate = 0;
  const int64_t size = x.size();
  call(op, [&] { return sqz_measure_read(size, floats_of(x), &rate); });
  return rate;
}

}  // namespace

PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
  m.doc() = "Compiled kernels; see squeezeops.ops for the contracts.";
  m.attr("__version__") = sqz_version();
  py::class_<PackedPointwiseConv>(m, "PackedPointwiseConv");
  m.def("pointwise_conv", &pointwise_conv);
  m.def("pack_pointwise_conv", &pack_pointwise_conv);
  m.def("use_packed_pointwise_conv", &use_packed_pointwise_conv);
  m.def("packed_form", &packed_form);
  m.def("run_pointwise_conv", &run_pointwise_conv);
  m.def("run_pointwise_convs", &run_pointwise_convs);
  m.def("quantize_rows", &quantize_rows);
  m.def("layer_norm", &layer_norm);
  m.def("l2_normalize", &l2_normalize);
  m.def("softmax", &softmax);
  m.def("gelu", &gelu);
  m.def("tanh", &tanh_);
  m.def("mean_pool", &mean_pool);
  m.def("embedding", &embedding);
  m.def("embedding_layer_norm", &embedding_layer_norm);
  m.def("attention", &attention);
  m.def("attention_ragged", &attention_ragged);
  m.def("attention_scores", &attention_scores);
  m.def("set_num_threads", &set_num_threads);
  m.def("get_num_threads", &get_num_threads);
  m.def("cpu_info", &cpu_info);
  m.def("kernel_table", &kernel_table);
  m.def("last_kernel", [] { return sqz_measure_last_kernel(); });
  m.def("force_isa", [](const std::optional<std::string> &name) {
    check("force_isa", sqz_force_isa(name ? name->c_str() : nullptr));
  });
  m.def("peak_fma", &peak_fma);
  m.def("peak_s8", &peak_s8);
  m.def("peak_read", &peak_read);
  m.def("cpu_quota", [](const std::string &root) { return sqz_measure_cpu_quota(root.c_str()); });
}
