// The functions of the module that run an operation: one loop over the table of operations serves all.
#include <cstring>
#include <memory>
#include <string>

#include "convert.h"

namespace py = pybind11;

namespace squeezeops {

namespace {

constexpr size_t kMaxStruct = 1024;  // add_operations checks it

// The first arguments of many calls, converted once: those that describe a packed weight.
struct Bound {
  alignas(8) char args[kMaxStruct] = {};
  Arguments arguments;
  int count = 0;
  py::tuple values;
};
constexpr char kBound[] = "bound";

sqz_status run_without_gil(const sqz_operation &operation, void *args, int64_t count, int32_t checked) {
  return without_gil([&] { return operation.run(args, count, checked); });
}

// Runs an operation that takes its results from the caller or asks for them.
void run(const sqz_operation &operation, Arguments *arguments, char *args, size_t count) {
  const auto n = static_cast<int64_t>(count);
  bool has_result = false;
  for (size_t i = 0; i < count; ++i) has_result = has_result || arguments[i].has_result();
  // Without results it checks the arguments and returns: that is not worth a switch of threads.
  sqz_status status = has_result ? run_without_gil(operation, args, n, 0) : operation.run(args, n, 0);
  if (status == SQZ_NEEDS_OUT) {
    for (size_t i = 0; i < count; ++i) arguments[i].allocate(operation.label);
    status = run_without_gil(operation, args, n, 1);
  }
  check(operation.label, status);
}

// What `bind` returned, which may stand in place of the first arguments; else null.
const Bound *bound_of(PyObject *value) {
  // By address: it is the name of no other capsule, and there is nothing to compare.
  if (!PyCapsule_CheckExact(value) || PyCapsule_GetName(value) != kBound) return nullptr;
  return static_cast<const Bound *>(PyCapsule_GetContext(value));  // faster than the pointer, which compares the names
}

void convert(const sqz_operation &operation, PyObject *const *given, Py_ssize_t count, Arguments *arguments,
             char *args) {
  const Bound *bound = count > 0 ? bound_of(given[0]) : nullptr;
  const int first = bound ? bound->count : 0, skip = bound ? 1 : 0;
  if (first + count - skip != operation.argument_count)
    throw py::type_error(std::string(operation.name) + ": expected " + std::to_string(operation.argument_count) +
                         " arguments, got " + std::to_string(first + count - skip));
  if (bound) std::memcpy(args, bound->args, operation.size);
  arguments->fill(operation, given + skip, args, first, operation.argument_count);
}

py::object call(const sqz_operation &operation, PyObject *const *given, Py_ssize_t count) {
  alignas(8) char args[kMaxStruct];
  Arguments arguments;
  std::memset(args, 0, operation.size);
  convert(operation, given, count, &arguments, args);
  run(operation, &arguments, args, 1);
  return arguments.results();
}

// f(bounds, ..., results): runs one call per entry of `bounds`. All calls share the arguments that follow, which are
// converted once; call i writes to results[i].
py::object call_several(const sqz_operation &operation, PyObject *const *given, Py_ssize_t given_count) {
  if (given_count < 2) throw py::type_error(std::string(operation.name) + ": expected bounds and results");
  const py::tuple bounds(py::reinterpret_borrow<py::object>(given[0]));
  const py::tuple outs(py::reinterpret_borrow<py::object>(given[given_count - 1]));
  const size_t count = bounds.size();
  if (outs.size() != count) throw py::type_error(std::string(operation.name) + ": expected as many results as bounds");
  constexpr size_t kFew = 4;  // that need no memory of the heap
  Arguments few_arguments[kFew];
  alignas(8) char few_args[kFew * kMaxStruct];
  std::unique_ptr<Arguments[]> more_arguments(count > kFew ? new Arguments[count] : nullptr);
  std::unique_ptr<char[]> more_args(count > kFew ? new char[count * operation.size] : nullptr);
  Arguments *const arguments = count > kFew ? more_arguments.get() : few_arguments;
  char *const args = count > kFew ? more_args.get() : few_args;
  Arguments shared;
  for (size_t i = 0; i < count; ++i) {
    char *own = args + i * operation.size;
    const Bound *bound = bound_of(PyTuple_GET_ITEM(bounds.ptr(), static_cast<Py_ssize_t>(i)));
    if (!bound || bound->count >= operation.argument_count)
      throw py::type_error(std::string(operation.name) + ": expected bounds");
    const int first = bound->count;
    const size_t begin = operation.arguments[first].offset;
    std::memcpy(own, bound->args, i == 0 ? operation.size : begin);
    if (i == 0) {
      PyObject *values[kMaxArguments];
      for (int j = first; j < operation.argument_count; ++j)
        values[j - first] = j - first < given_count - 2 ? given[j - first + 1] : Py_None;
      shared.fill(operation, values, own, first, operation.argument_count);
    } else {
      std::memcpy(own + begin, args + begin, operation.size - begin);
    }
    arguments[i].fill_results(operation, PyTuple_GET_ITEM(outs.ptr(), static_cast<Py_ssize_t>(i)), own);
  }
  run(operation, arguments, args, count);
  py::tuple results(count);
  for (size_t i = 0; i < count; ++i) results[i] = arguments[i].results();
  return std::move(results);
}

// The first arguments, for calls that have them in common.
py::object bind(const sqz_operation &operation, PyObject *const *given, Py_ssize_t count) {
  if (count > operation.argument_count) throw py::type_error(std::string(operation.name) + ": too many arguments");
  std::unique_ptr<Bound> bound(new Bound);
  bound->count = static_cast<int>(count);
  bound->values = py::tuple(static_cast<size_t>(count));
  for (size_t i = 0; i < bound->values.size(); ++i) bound->values[i] = py::handle(given[i]);
  bound->arguments.fill(operation, given, bound->args, 0, bound->count);
  PyObject *capsule = PyCapsule_New(bound.get(), kBound, [](PyObject *self) { delete bound_of(self); });
  if (!capsule || PyCapsule_SetContext(capsule, bound.release())) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(capsule);
}

// What `bind` was given.
py::object bound_arguments(const sqz_operation &, PyObject *const *given, Py_ssize_t count) {
  const Bound *bound = count == 1 ? bound_of(given[0]) : nullptr;
  if (!bound) throw py::type_error("bound_arguments: expected what a bind function returned");
  return bound->values;
}

// What a call would allocate.
py::object missing(const sqz_operation &operation, PyObject *const *given, Py_ssize_t count) {
  alignas(8) char args[kMaxStruct] = {};
  Arguments arguments;
  convert(operation, given, count, &arguments, args);
  const sqz_status status = operation.run(args, 1, 0);
  check(operation.label, status == SQZ_NEEDS_OUT ? SQZ_OK : status);
  return arguments.missing();
}

// As Python calls it: with the operation as `self`, and without exceptions of C++.
template <py::object (*function)(const sqz_operation &, PyObject *const *, Py_ssize_t)>
PyObject *entry(PyObject *self, PyObject *const *given, Py_ssize_t count) {
  try {
    const void *operation = PyCapsule_GetPointer(self, nullptr);
    return function(*static_cast<const sqz_operation *>(operation), given, count).release().ptr();
  } catch (py::error_already_set &error) {
    error.restore();
  } catch (const py::builtin_exception &error) {
    error.set_error();
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
  } catch (const std::exception &error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

using Function = PyObject *(*)(PyObject *, PyObject *const *, Py_ssize_t);

void add(py::module_ &module, const std::string &name, const sqz_operation *operation, Function function) {
  const py::capsule self(operation);
  auto *method =
      new PyMethodDef{strdup(name.c_str()), reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
                      METH_FASTCALL, nullptr};  // as long as the process
  PyObject *made = PyCFunction_NewEx(method, self.ptr(), py::object(module.attr("__name__")).ptr());
  if (!made) throw py::error_already_set();
  module.attr(name.c_str()) = py::reinterpret_steal<py::object>(made);
}

}  // namespace

// For an operation `op`: `op`, and `op_bind` and `op_missing`.
void add_operations(py::module_ &module) {
  for (int32_t i = 0; i < sqz_operation_count(); ++i) {
    const sqz_operation *operation = sqz_operation_get(i);
    const std::string name = operation->name;
    if (operation->argument_count > kMaxArguments || operation->size > kMaxStruct)
      throw py::import_error("squeezeops._native: too many arguments: " + name);
    add(module, name, operation, operation->several ? entry<call_several> : entry<call>);
    add(module, name + "_bind", operation, entry<bind>);
    add(module, name + "_missing", operation, entry<missing>);
  }
  add(module, "bound_arguments", sqz_operation_get(0), entry<bound_arguments>);
}

}  // namespace squeezeops
