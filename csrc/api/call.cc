#include "api/call.h"

#include <string.h>

#include "memory.h"
#include "threading/float_environment.h"

namespace sqz {

namespace {

// Byte strides of a C-contiguous array.
void fill_strides(int rank, const intptr_t *shape, int64_t item, intptr_t *strides) {
  for (int i = rank - 1; i >= 0; --i) {
    strides[i] = static_cast<intptr_t>(item);
    item *= shape[i] > 0 ? shape[i] : 1;
  }
}

}  // namespace

// An array as its elements lie in memory, broadcast to other sizes by strides of 0.
struct View {
  const char *data;
  int64_t item;
  Shape shape;
  intptr_t strides[kMaxRank];

  explicit View(const sqz_array &a) : data(static_cast<const char *>(a.data)), item(item_size(a.dtype)), shape(a) {
    if (!a.strides) fill_strides(a.rank, a.shape, item, strides);
    for (int i = 0; a.strides && i < a.rank; ++i) strides[i] = a.strides[i];
  }

  void broadcast(const Shape &to) {
    const int more = to.rank - shape.rank;
    for (int i = to.rank - 1; i >= 0; --i) strides[i] = i < more || shape.n[i - more] == 1 ? 0 : strides[i - more];
    shape = to;
  }

  bool aligned() const {
    bool good = reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(item) == 0;
    for (int i = 0; i < shape.rank; ++i) good = good && (shape.n[i] <= 1 || strides[i] % item == 0);
    return good || shape.elements() == 0;
  }
  bool dense_last() const { return shape.last() <= 1 || strides[shape.rank - 1] == item; }

  // Elements from one row to the next, if all axes but the last follow each other with one stride; else -1.
  int64_t row_stride() const {
    int64_t stride = -1, rows = 1;
    for (int i = shape.rank - 2; i >= 0; --i) {
      if (shape.n[i] == 1) continue;
      if (stride < 0) stride = strides[i] < 0 ? -1 : strides[i];
      if (stride < 0 || strides[i] != stride * rows) return -1;
      rows *= shape.n[i];
    }
    return stride < 0 ? shape.last() : stride / item;
  }

  // All elements in C order.
  void copy(char *to) const {
    if (shape.elements() == 0) return;
    const int last = shape.rank - 1;
    const intptr_t n = shape.rank ? shape.n[last] : 1, step = shape.rank ? strides[last] : 0;
    intptr_t index[kMaxRank] = {0};
    const char *from = data;
    for (;;) {
      copy_row(n, step, from, to);
      to += n * item;
      int axis = last - 1;
      for (; axis >= 0; --axis) {
        if (++index[axis] < shape.n[axis]) {
          from += strides[axis];
          break;
        }
        from -= strides[axis] * (shape.n[axis] - 1);  // of an axis of size 1, the stride may be anything
        index[axis] = 0;
      }
      if (axis < 0) return;
    }
  }

 private:
  template <int kItem>
  static void copy_items(intptr_t n, intptr_t step, const char *from, char *to) {
    for (intptr_t i = 0; i < n; ++i) memcpy(to + i * kItem, from + i * step, kItem);
  }
  void copy_row(intptr_t n, intptr_t step, const char *from, char *to) const {
    if (step == item) {
      memcpy(to, from, static_cast<size_t>(n * item));
      return;
    }
    switch (item) {
      case 1: return copy_items<1>(n, step, from, to);
      case 2: return copy_items<2>(n, step, from, to);
      case 4: return copy_items<4>(n, step, from, to);
      default: return copy_items<8>(n, step, from, to);
    }
  }
};

namespace {

// From the first to after the last byte of an array's elements; both 0 if there are none.
struct Span {
  uintptr_t low = 0, high = 0;

  explicit Span(const sqz_array &a) {
    if (!given(a)) return;
    const auto item = static_cast<uintptr_t>(item_size(a.dtype));
    uintptr_t first = reinterpret_cast<uintptr_t>(a.data), last = first, elements = 1;
    for (int i = 0; i < a.rank; ++i) {
      elements *= static_cast<uintptr_t>(a.shape[i]);
      if (!a.strides) continue;
      const intptr_t step = (a.shape[i] - 1) * a.strides[i];
      (step < 0 ? first : last) += static_cast<uintptr_t>(step);
    }
    if (elements == 0) return;
    low = first;
    high = a.strides ? last + item : first + elements * item;
  }

  bool overlaps(const Span &other) const { return low < other.high && other.low < high; }
};

bool at_multiple(const sqz_array &a) {
  return reinterpret_cast<uintptr_t>(a.data) % static_cast<uintptr_t>(item_size(a.dtype)) == 0;
}

// Whether the elements are the same at the same places.
bool same_memory(const sqz_array &a, const sqz_array &b) {
  return a.data == b.data && contiguous(a) && contiguous(b) && same_shape(a, Shape(b));
}

}  // namespace

bool same_view(const sqz_array &a, const sqz_array &b) {
  bool same = a.data == b.data && a.dtype == b.dtype && a.rank == b.rank;
  for (int i = 0; same && i < a.rank; ++i) same = a.shape[i] == b.shape[i];
  if (!same || (!a.strides && !b.strides)) return same;
  const View x(a), y(b);
  for (int i = 0; same && i < a.rank; ++i) same = x.strides[i] == y.strides[i];
  return same;
}

bool overlap(const sqz_array &a, const sqz_array &b) { return Span(a).overlaps(Span(b)); }

// Before each copy; as long as a cache line, so that the copy is aligned too.
struct alignas(64) Block {
  Block *next;
};

Call::~Call() {
  while (blocks_) {
    Block *next = blocks_->next;
    deallocate(blocks_);
    blocks_ = next;
  }
}

void *Call::take(const char *name, int64_t bytes) {
  if (status_) return nullptr;
  const bool fits = bytes <= PTRDIFF_MAX - int64_t{sizeof(Block)};
  Block *block = fits ? static_cast<Block *>(allocate(sizeof(Block) + static_cast<size_t>(bytes))) : nullptr;
  if (!block) {
    status_ = fail(SQZ_NO_MEMORY, "%s: expected memory for a copy, got none", name);
    return nullptr;
  }
  block->next = blocks_;
  blocks_ = block;
  return block + 1;
}

sqz_status Call::output(sqz_array &out, const Shape &shape, std::initializer_list<Input> inputs,
                        const sqz_array *in_place, sqz_dtype dtype) {
  int64_t elements = 1;
  for (int i = 0; i < shape.rank; ++i)
    SQZ_CHECK(multiply(&elements, shape.n[i] == 0 ? 1 : shape.n[i]),
              "out: expected fewer than 2^58 elements, got shape %s", text(shape).s);
  if (!given(out)) {
    SQZ_CHECK(out.shape || shape.rank == 0, "out: expected memory, or room for its shape, got NULL");
    SQZ_CHECK(out.rank >= shape.rank, "out: expected room for %d sizes, got %d", shape.rank, out.rank);
    intptr_t *sizes = const_cast<intptr_t *>(out.shape);
    for (int i = 0; i < shape.rank; ++i) sizes[i] = shape.n[i];
    out.dtype = dtype;
    out.rank = shape.rank;
    asked_ = true;
    return SQZ_OK;
  }
  if (out.dtype != dtype || !out.data || !same_shape(out, shape)) SQZ_TRY(array("out", out, 1u << dtype));
  SQZ_CHECK(same_shape(out, shape), "out: expected shape %s, got %s", text(shape).s, text(out).s);
  SQZ_CHECK(contiguous(out), "out: expected a C-contiguous array, got strides %s", text(out.rank, out.strides).s);
  SQZ_CHECK(at_multiple(out) || shape.elements() == 0, "out: expected an aligned array, got an unaligned one");
  SQZ_CHECK(!out.readonly, "out: expected a writeable array, got a read-only one");
  const Span span(out);
  SQZ_CHECK(!in_place || same_memory(out, *in_place) || !span.overlaps(Span(*in_place)),
            "out: expected x itself or memory apart from it, got a partial overlap with x");
  for (const Input &input : inputs)
    SQZ_CHECK(!given(*input.array) || !span.overlaps(Span(*input.array)),
              "out: expected memory apart from the inputs, got an overlap with %s", input.name);
  return SQZ_OK;
}

// All elements of a view, in C order.
void *Call::copy(const char *name, const View &view) {
  void *to = take(name, view.shape.elements() * view.item);
  if (to) view.copy(static_cast<char *>(to));
  return to;
}

void *Call::copy_of(const char *name, const void *p, int64_t count, int64_t item) {
  if (!p && count > 0 && !status_) status_ = fail(SQZ_INVALID, "%s: expected a pointer, got NULL", name);
  void *to = take(name, count <= kMaxElements ? count * item : INT64_MAX);
  if (to && count > 0) memcpy(to, p, static_cast<size_t>(count * item));
  return to;
}

const void *Call::dense_of(const char *name, const sqz_array &a) {
  return contiguous(a) && at_multiple(a) ? a.data : copy(name, View(a));
}

const void *Call::rows_of(const char *name, const sqz_array &a, int64_t *ld) {
  *ld = a.shape[a.rank - 1];
  if (!contiguous(a)) {
    const View view(a);
    const int64_t stride = view.row_stride();
    if (view.aligned() && view.dense_last() && stride >= *ld) {
      *ld = stride;
      return a.data;
    }
  }
  return dense_of(name, a);
}

const int64_t *Call::ids(const char *name, const sqz_array &a, int64_t limit) {
  const View view(a);
  const int64_t count = view.shape.elements();
  int64_t *ids = static_cast<int64_t *>(take(name, count * 8));
  if (!ids) return nullptr;
  if (a.dtype == SQZ_S32) {
    const int32_t *narrow = reinterpret_cast<const int32_t *>(ids) + count;  // widened in place, from the front
    view.copy(reinterpret_cast<char *>(ids) + 4 * count);
    for (int64_t i = 0; i < count; ++i) {
      int32_t id;
      memcpy(&id, narrow + i, 4);
      ids[i] = id;
    }
  } else {
    view.copy(reinterpret_cast<char *>(ids));
  }
  status_ = in_range(name, ids, count, limit);
  return ids;
}

const int32_t *Call::offsets(const char *name, const sqz_array &a, int64_t total) {
  const int32_t *offsets = static_cast<const int32_t *>(copy(name, View(a)));
  if (!offsets) return nullptr;
  const intptr_t batch = a.shape[0] - 1;
  status_ = ascending(name, offsets, batch);
  if (!status_ && offsets[batch] != total)
    status_ = fail(SQZ_INVALID, "%s: expected to end at %lld, got %d", name, (long long)total, offsets[batch]);
  return offsets;
}

namespace {

sqz_mask_kind kind_of(const sqz_array &mask) { return mask.dtype == SQZ_F32 ? SQZ_MASK_ADD : SQZ_MASK_BOOL; }

}  // namespace

Mask Call::mask_rows(const char *name, const sqz_array &a, const Shape &shape) {
  if (!given(a)) return {};
  if (shape.elements() == 0) return {a.data, kind_of(a), {}};
  View view(a);
  view.broadcast(shape);
  const int64_t stride = view.row_stride();
  if (view.aligned() && view.dense_last() && (stride == 0 || stride >= shape.last()))
    return {a.data, kind_of(a), {stride}};
  if (stride == 0) view.shape = {shape.last()}, view.strides[0] = view.strides[shape.rank - 1];  // one row for all
  return {copy(name, view), kind_of(a), {stride == 0 ? 0 : shape.last()}};
}

Mask Call::mask_axes(const char *name, const sqz_array &a, const Shape &shape) {
  if (!given(a)) return {};
  View view(a);
  view.broadcast(shape);
  const int last = shape.rank - 1;
  bool usable = view.aligned() && view.dense_last();
  for (int i = 0; i < last; ++i) usable = usable && view.strides[i] >= 0;
  Mask mask = {a.data, kind_of(a), {}};
  if (!usable) {
    for (int i = 0; i < last; ++i)
      if (view.strides[i] == 0) view.shape.n[i] = 1;
    mask.p = copy(name, view);
    fill_strides(shape.rank, view.shape.n, view.item, view.strides);
  }
  for (int i = 0; i < last; ++i) mask.strides[i] = view.shape.n[i] == 1 ? 0 : view.strides[i] / view.item;
  return mask;
}

namespace {

// Checks a struct of a caller built against another version: `size` bytes are known here, `given` bytes there. The
// struct of no version ends inside a pointer.
sqz_status check_size(const char *args, size_t size, size_t given) {
  size_t stated;
  memcpy(&stated, args, sizeof stated);
  SQZ_CHECK(stated == given && given >= sizeof size && given % sizeof(void *) == 0,
            "size: expected that of the struct, %zu bytes, got %zu", size, stated);
  for (size_t i = size; i < given; ++i)
    SQZ_CHECK(args[i] == 0, "size: expected a struct of %zu bytes with nothing set beyond them, got one of %zu", size,
              given);
  return SQZ_OK;
}

}  // namespace

sqz_status with_size(void *args, size_t size, int64_t count, bool checked,
                     sqz_status (*run)(Call &call, void *args, int64_t count)) {
  SQZ_CHECK(count >= 0, "count: expected a number >= 0, got %lld", (long long)count);
  if (count == 0) return SQZ_OK;
  FloatEnvironment environment;
  SQZ_CHECK(args, "args: expected a pointer, got NULL");
  const size_t given = *static_cast<const size_t *>(args), n = static_cast<size_t>(count);
  char *theirs = static_cast<char *>(args);
  for (size_t i = 0; i < n; ++i) SQZ_TRY(check_size(theirs + i * given, size, given));
  Call call(checked);
  if (given == size) return run(call, args, count);
  const size_t common = (given < size ? given : size) - sizeof size;
  char *ours = static_cast<char *>(call.take("args", static_cast<int64_t>(size) * count));
  if (!ours) return call.status();
  memset(ours, 0, size * n);
  for (size_t i = 0; i < n; ++i) {
    memcpy(ours + i * size, &size, sizeof size);
    memcpy(ours + i * size + sizeof size, theirs + i * given + sizeof size, common);
  }
  const sqz_status status = run(call, ours, count);
  for (size_t i = 0; i < n; ++i) memcpy(theirs + i * given + sizeof size, ours + i * size + sizeof size, common);
  return status;
}

}  // namespace sqz
