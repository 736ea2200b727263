// Calls random operations of the C interface with random arguments, from the table of operations: no code per op.
//
// A caller must give memory that has the elements of an array; everything else may be wrong. So each array has a block
// of its own of exactly the bytes that its shape and strides reach: AddressSanitizer reports any access beside it.

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "harness.h"

namespace {

constexpr int kMaxArrays = 32, kMostElements = 1 << 16;

struct Input {
  const uint8_t *data;
  size_t size;

  uint8_t byte() {
    if (size == 0) return 0;
    --size;
    return *data++;
  }
  int below(int n) { return byte() % n; }
  bool rarely() { return byte() > 240; }
};

struct Array {
  intptr_t shape[SQZ_MAX_RANK], strides[SQZ_MAX_RANK];
  char *block = nullptr;
  ~Array() { free(block); }
};

const int64_t kSizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 49, 64, 80};
const int64_t kNumbers[] = {0, 1, 2, 3, 4, 8, -1, 16, INT32_MAX, INT64_MAX, INT64_MIN, int64_t(1) << 32, 1 << 28};
const double kReals[] = {0, 1e-5, 1, 0.5, -1, 1e-12, DBL_MAX, 1e-310, 2, -0.0, NAN, INFINITY};
constexpr size_t kStrided = offsetof(sqz_array, strides) + sizeof(intptr_t *);
const int kItems[] = {8, 4, 2, 1, 1, 1, 1, 4, 8, 1, 8};  // bytes per element, by sqz_dtype

template <typename T, size_t n>
T pick(Input &in, const T (&values)[n]) {
  return values[in.byte() % n];
}

// Random bits, small numbers or ordinary floats: ids and offsets should be valid now and then.
void fill(Input &in, char *to, size_t bytes, int dtype) {
  const int mode = in.below(4);
  uint32_t state = in.byte() * 2654435761u + 1;
  for (size_t i = 0; i < bytes; ++i) {
    state = state * 1664525u + 1013904223u;
    to[i] = static_cast<char>(mode == 0 ? 0 : state >> 24);
  }
  if (mode < 2) return;
  for (size_t i = 0; dtype == SQZ_F32 && i + 4 <= bytes; i += 4) {
    const float value = static_cast<float>(static_cast<int8_t>(to[i])) / 32;
    memcpy(to + i, &value, 4);
  }
  const size_t item = dtype == SQZ_S64 ? 8 : 4;
  int64_t sum = 0;
  for (size_t i = 0; (dtype == SQZ_S32 || dtype == SQZ_S64) && i + item <= bytes; i += item) {
    const int64_t value = mode == 2 ? (to[i] & 3) : (i ? sum += to[i] & 3 : 0);  // ids, or ascending offsets
    memcpy(to + i, &value, item);
  }
}

// `strided`: whether the library sees the strides.
void make_array(Input &in, sqz_array &a, Array &memory, const int64_t *sizes, bool strided) {
  a.dtype = static_cast<sqz_dtype>(in.rarely() ? in.below(12) : in.below(3) ? SQZ_F32 : in.below(11));
  a.rank = in.rarely() ? (in.below(2) ? SQZ_MAX_RANK + 1 : -1) : 1 + in.below(3);
  if (in.below(16) == 0) a.rank = in.below(6);
  a.shape = memory.shape;
  a.readonly = in.rarely();
  if (a.rank < 0 || a.rank > SQZ_MAX_RANK) {
    a.data = memory.block = static_cast<char *>(malloc(1));
    return;
  }
  const intptr_t item = a.dtype > 0 && a.dtype < 11 ? kItems[a.dtype] : 8;
  intptr_t elements = 1;
  for (int i = 0; i < a.rank; ++i) {
    memory.shape[i] = in.rarely() ? pick(in, kSizes) : sizes[in.below(4)];
    if (elements * memory.shape[i] > kMostElements) memory.shape[i] = 1;
    elements *= memory.shape[i];
  }
  const int layout = in.below(4);
  if (layout == 0 && strided) {  // any strides: several steps, none, backwards
    a.strides = memory.strides;
    intptr_t step = item;
    for (int i = a.rank - 1; i >= 0; --i) {
      const int kind = in.below(8);
      memory.strides[i] = kind == 0 ? 0 : kind == 1 ? -step : kind == 2 ? 2 * step : kind == 3 ? step + 1 : step;
      step *= memory.shape[i] > 0 ? memory.shape[i] : 1;
    }
  }
  intptr_t low = 0, high = 0;
  for (int i = 0; i < a.rank && a.strides; ++i) {
    const intptr_t reach = (memory.shape[i] - 1) * memory.strides[i];
    (reach < 0 ? low : high) += elements ? reach : 0;
  }
  const auto bytes = static_cast<size_t>(a.strides ? high - low + item : elements * item);
  const auto shift = static_cast<size_t>(layout == 1 ? in.below(8) : 0);  // not aligned
  memory.block = static_cast<char *>(malloc((elements ? bytes : 0) + shift));
  if (elements) fill(in, memory.block + shift, bytes, a.dtype);
  a.data = memory.block + shift - (elements ? low : 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Input in{data, size};
  const sqz_operation &op = *sqz_operation_get(in.byte() % sqz_operation_count());
  sqz_force_isa(sqz_isa_name(in.byte() % sqz_isa_count()));  // one that does not run is refused
  const int threads = 1 + in.below(2);
  if (sqz_get_num_threads() != threads) sqz_set_num_threads(threads);  // which reads files
  int64_t sizes[4];
  for (int64_t &each : sizes) each = pick(in, kSizes);

  alignas(16) char args[2048] = {0};
  Array arrays[kMaxArrays];
  int64_t numbers[kMaxArrays];
  double reals[kMaxArrays];
  if (op.size > sizeof args || op.argument_count > kMaxArrays) abort();
  size_t given = op.size;
  if (in.rarely()) given = in.byte() * 8 % (sizeof args);
  memcpy(args, &given, sizeof given);
  for (int i = 0; i < op.argument_count; ++i) {
    const sqz_argument &argument = op.arguments[i];
    char *field = args + argument.offset;
    if (argument.optional ? in.below(2) : in.rarely()) continue;
    switch (argument.kind) {
      case SQZ_ARG_OUT:
        if (in.below(2)) {
          auto &a = *reinterpret_cast<sqz_array *>(field);
          a.rank = SQZ_MAX_RANK;
          a.shape = arrays[i].shape;
          break;
        }
        [[fallthrough]];
      case SQZ_ARG_ARRAY:
        make_array(in, *reinterpret_cast<sqz_array *>(field), arrays[i], sizes, argument.offset + kStrided <= given);
        break;
      case SQZ_ARG_INT:
        numbers[i] = in.below(2) ? sizes[in.below(4)] : pick(in, kNumbers);
        if (argument.optional) {
          const int64_t *pointer = &numbers[i];
          memcpy(field, &pointer, sizeof pointer);
        } else {
          memcpy(field, &numbers[i], sizeof numbers[i]);
        }
        break;
      case SQZ_ARG_REAL:
        reals[i] = pick(in, kReals);
        if (argument.optional) {
          const double *pointer = &reals[i];
          memcpy(field, &pointer, sizeof pointer);
        } else {
          memcpy(field, &reals[i], sizeof reals[i]);
        }
        break;
      default: {
        const int32_t word = argument.first_word + (in.rarely() ? in.byte() - 128 : in.byte() % argument.word_count);
        memcpy(field, &word, sizeof word);
      }
    }
  }

  while (in.rarely()) {  // what a caller forgot
    const int i = in.below(op.argument_count);
    if (op.arguments[i].kind > SQZ_ARG_OUT) continue;
    auto &a = *reinterpret_cast<sqz_array *>(args + op.arguments[i].offset);
    if (in.below(2))
      a.shape = nullptr;
    else
      a.data = nullptr;
  }

  bool asked[kMaxArrays] = {false};  // whether a result's type and shape are for the call to tell
  for (int i = 0; i < op.argument_count; ++i)
    asked[i] = op.arguments[i].kind == SQZ_ARG_OUT &&
               reinterpret_cast<sqz_array *>(args + op.arguments[i].offset)->dtype == SQZ_NONE;
  begin();
  sqz_status status = op.run(args, 1, 0);
  for (int i = 0; status == SQZ_NEEDS_OUT && i < op.argument_count; ++i) {
    if (op.arguments[i].kind != SQZ_ARG_OUT) continue;
    auto &a = *reinterpret_cast<sqz_array *>(args + op.arguments[i].offset);
    if (!asked[i] || a.dtype == SQZ_NONE) continue;
    size_t bytes = static_cast<size_t>(kItems[a.dtype]);
    for (int k = 0; k < a.rank; ++k) bytes *= static_cast<size_t>(a.shape[k]);
    if (bytes > size_t{1} << 28) return 0;  // of inputs without channels, which take no memory
    free(arrays[i].block);
    a.data = arrays[i].block = static_cast<char *>(aligned_alloc(64, (bytes + 63) / 64 * 64));
    arrays[i].block[0] = 0;
  }
  if (status == SQZ_NEEDS_OUT) status = op.run(args, 1, in.below(2));
  // A size that ends inside `out` hides the shape that the first call has set.
  if (status == SQZ_NEEDS_OUT)
    check(given < op.size, op.name);
  else
    works(status);
  return 0;
}
