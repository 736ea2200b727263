"""Classify texts with cffi, on CPython and on PyPy, which has cffi built in. NumPy is not needed::

    python classify_cffi.py libsqueezeops.so model.safetensors "a gorgeous, witty, seductive movie"

Prints a line per text: the class, its score, the logits of all classes, the text.
"""

import sys

from cffi import FFI

ffi = FFI()
ffi.cdef("""
const char *sqz_error_message(void);
typedef struct { const char *data; int64_t size; } sqz_text;
typedef struct {
  size_t size; uint64_t model; sqz_text text; const sqz_text *pair; int32_t truncate;
  float *logits; float *scores; int64_t label; double score; int64_t tokens;
} sqz_model_classify_args;
int sqz_model_open(const char *path, const char *task, uint64_t *model);
int sqz_model_close(uint64_t model);
int64_t sqz_model_label(uint64_t model, int64_t index, char *room, size_t size);
int sqz_model_classify(sqz_model_classify_args *args);
""")


def check(status):
    if status:
        raise ValueError(ffi.string(library.sqz_error_message()).decode())


if len(sys.argv) < 4:
    sys.exit("usage: classify_cffi.py LIBRARY MODEL TEXT...")
library = ffi.dlopen(sys.argv[1])

model = ffi.new("uint64_t *")
check(library.sqz_model_open(sys.argv[2].encode(), ffi.NULL, model))
names, room = [], ffi.new("char[64]")
while library.sqz_model_label(model[0], len(names), room, len(room)) >= 0:
    names.append(ffi.string(room).decode())
logits = ffi.new("float[]", len(names))
for text in sys.argv[3:]:
    data = text.encode()
    args = ffi.new("sqz_model_classify_args *", {"model": model[0], "logits": logits})
    args.size = ffi.sizeof(args[0])
    args.text.data, args.text.size = ffi.from_buffer(data), len(data)
    check(library.sqz_model_classify(args))
    print(names[args.label], f"{args.score:.4f}", *(f"{x:.9g}" for x in logits), text)
check(library.sqz_model_close(model[0]))
