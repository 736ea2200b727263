// squeezeops._native: the C interface for NumPy arrays. squeezeops/ops.py states the contracts.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "convert.h"
#include "measure/measure.h"

namespace py = pybind11;

namespace squeezeops {
namespace {

const char *isa_chosen() {
  const char *chosen = sqz_isa_chosen();
  if (!chosen) check("cpu_info", SQZ_UNSUPPORTED);
  return chosen;
}

// Name and state of each, best first.
py::list isas() {
  py::list list;
  for (int32_t i = 0; i < sqz_isa_count(); ++i)
    list.append(py::make_tuple(sqz_isa_name(i), static_cast<int>(sqz_isa_get_state(i))));
  return list;
}

// Every kernel.
py::list kernel_table() {
  py::list rows;
  for (int32_t i = 0; i < sqz_kernel_count(); ++i) {
    sqz_kernel_info k;
    check("kernel_table", sqz_kernel_get_info(i, &k));
    rows.append(py::dict(py::arg("op") = k.op, py::arg("dtype") = k.dtype, py::arg("isa") = k.isa,
                         py::arg("tile") = k.tile, py::arg("symbol") = k.symbol, py::arg("in_use") = k.in_use != 0));
  }
  return rows;
}

int get_num_threads() {
  const int n = sqz_get_num_threads();
  if (n < 0) check("get_num_threads", SQZ_UNSUPPORTED);
  return n;
}

// Operations per second; private to the benchmarks, as peak_read is.
double peak_of(const char *op, sqz_status (*measure)(double, double *), py::handle value) {
  const double seconds = to_real(op, "seconds", value);
  double rate = 0;
  check(op, measure(seconds, &rate));
  return rate;
}
double peak_fma(py::handle seconds) { return peak_of("peak_fma", sqz_measure_fma, seconds); }
double peak_s8(py::handle seconds) { return peak_of("peak_s8", sqz_measure_s8, seconds); }

// Bytes per second.
double peak_read(const py::object &x) {
  constexpr const char *op = "peak_read";
  using Floats = py::array_t<float, py::array::c_style>;
  if (!py::isinstance<Floats>(x)) {
    constexpr const char *expected = "a C-contiguous array of float32";
    const py::object got = scalars("array_kind")(x);
    py::set_error(PyExc_TypeError, scalars("error")(py::handle(PyExc_TypeError), op, "x", expected, got));
    throw py::error_already_set();
  }
  const auto array = py::reinterpret_borrow<Floats>(x);
  double rate = 0;
  check(op, sqz_measure_read(array.size(), array.data(), &rate));
  return rate;
}

}  // namespace
}  // namespace squeezeops

namespace {
constexpr char kRefusal[] =
    "squeezeops._native: expected the main interpreter, got a subinterpreter (backend 'cffi' works there)";
bool in_subinterpreter() { return PyInterpreterState_Get() != PyInterpreterState_Main(); }
}  // namespace

// The function that pybind11 defines gets another name, so that what Python calls can refuse before pybind11 waits for
// a lock forever: its PyGILState functions know the main interpreter alone.
#define PyInit__native init_in_main_interpreter
PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
  if (in_subinterpreter()) throw std::runtime_error(kRefusal);  // Python 3.13 calls the function below in the main one
  using namespace squeezeops;
  m.doc() = "Compiled kernels; see squeezeops.ops for the contracts.";
  m.attr("__version__") = sqz_version();
  add_operations(m);
  add_text(m);
  m.def("set_num_threads", [](int64_t n) { check("set_num_threads", sqz_set_num_threads(n)); });
  m.def("get_num_threads", &get_num_threads);
  m.def("isa_chosen", &isa_chosen);
  m.def("isas", &isas);
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
#undef PyInit__native

extern "C" PYBIND11_EXPORT PyObject *PyInit__native() {
  if (!in_subinterpreter()) return init_in_main_interpreter();
  PyErr_SetString(PyExc_ImportError, kRefusal);
  return nullptr;
}
