// Python's objects as the C interface takes them, and its errors as exceptions. The C interface judges arrays. Numbers
// and words are judged by squeezeops/backends/_scalars.py, unless they are of the usual types.
#ifndef SQUEEZEOPS_PYTHON_CONVERT_H_
#define SQUEEZEOPS_PYTHON_CONVERT_H_

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "squeezeops/squeezeops.h"

namespace squeezeops {

constexpr int kMaxArguments = 16, kUsualSizes = 256;

// A function of squeezeops/backends/_scalars.py.
pybind11::object scalars(const char *function);
double to_real(const char *op, const char *name, pybind11::handle value);
// Throws the exception for a status, unless that is SQZ_OK. It has the name of the argument as an attribute.
void check(const char *op, sqz_status status);

// Runs a function of the library while other threads run Python.
template <class Run>
sqz_status without_gil(const Run &run) {
  PyThreadState *thread = PyEval_SaveThread();
  const sqz_status status = run();
  try {
    PyEval_RestoreThread(thread);
  } catch (...) {
    // Up to 3.13, Python ends a thread that asks for the GIL after the interpreter has begun to shut down, by
    // pthread_exit. That unwinds the stack: our destructors would drop references without the GIL, and it may not be
    // swallowed. So the thread waits until the process ends, as Python 3.14 lets it.
    for (;;) pause();
  }
  return status;
}

// Arguments of one struct of an operation, and what it points to. The shapes are copies: while an op runs without the
// GIL, another thread may give an array another shape. References to the arrays are the caller's.
class Arguments {
 public:
  Arguments() = default;
  ~Arguments();
  Arguments(const Arguments &) = delete;
  Arguments &operator=(const Arguments &) = delete;

  // Fills the fields of the arguments from `first` up to `last`, which are zero. Remembers where the results are.
  void fill(const sqz_operation &operation, PyObject *const *values, char *args, int first, int last);
  // Fills those of the results alone: `value` is the first of them, or a tuple of them; the others are not given.
  void fill_results(const sqz_operation &operation, PyObject *value, char *args);
  bool has_result() const;           // whether one of the results was given
  void allocate(const char *op);     // those that the operation asks for
  pybind11::object results() const;  // one, or a tuple
  pybind11::list missing() const;    // (dtype, shape) of those that the operation asks for

 private:
  void name_type(PyObject *value, sqz_array *array);  // what messages call what is no array of a known dtype
  void to_array(PyObject *value, sqz_array *array);   // runs no code of Python
  void add_result(PyObject *value, sqz_array *array);
  intptr_t *room(int rank);
  const intptr_t *keep(int rank, const intptr_t *sizes);
  const char *keep(pybind11::object text);

  union Number {
    int64_t integer;
    double real;
  };
  struct Result {
    sqz_array *array;
    PyObject *object;  // null if it was not given
    bool owned;
  };

  int numbers_used_ = 0, texts_used_ = 0, results_used_ = 0, sizes_used_ = 0;
  Number numbers_[kMaxArguments];
  PyObject *texts_[kMaxArguments];
  Result results_[kMaxArguments];
  intptr_t sizes_[kUsualSizes];
  std::vector<std::unique_ptr<intptr_t[]>> more_sizes_;  // of arrays with very many axes
};

// A function for each operation of the table, into the module.
void add_operations(pybind11::module_ &module);
// The functions of tokenizers.
void add_text(pybind11::module_ &module);

}  // namespace squeezeops

#endif  // SQUEEZEOPS_PYTHON_CONVERT_H_
