"""Classify texts with MicroPython's unix port and its module ffi::

    micropython classify_micropython.py ./libsqueezeops.so model.safetensors "a gorgeous, witty, seductive movie"

Prints a line per text: the class, its score, the logits of all classes, the text.
"""

import array
import struct
import sys

import ffi
import uctypes

# sqz_model_classify_args: size, model, text (data, size), pair, truncate, logits, scores; and the results label, score,
# tokens. P is a pointer or a size_t; the alignment is C's.
ARGS = "PQPqPiPP"
RESULTS = "qdq"


def check(status):
    if status:
        raise ValueError(error_message())


if len(sys.argv) < 4:
    print("usage: classify_micropython.py LIBRARY MODEL TEXT...")
    sys.exit(2)
library = ffi.open(sys.argv[1])
error_message = library.func("s", "sqz_error_message", "")
model_open = library.func("i", "sqz_model_open", "sPp")
model_close = library.func("i", "sqz_model_close", "Q")
model_label = library.func("q", "sqz_model_label", "QqpP")
model_classify = library.func("i", "sqz_model_classify", "p")

handle = array.array("Q", [0])
check(model_open(sys.argv[2], None, handle))
model = handle[0]
names, room = [], bytearray(64)
while (length := model_label(model, len(names), room, len(room))) >= 0:
    names.append(str(room[:length], "utf-8"))
logits = array.array("f", [0] * len(names))
for text in sys.argv[3:]:
    data = text.encode()
    args = bytearray(struct.calcsize(ARGS + RESULTS))
    address = uctypes.addressof
    struct.pack_into(ARGS, args, 0, len(args), model, address(data), len(data), 0, 0, address(logits), 0)
    check(model_classify(args))
    label, score, tokens = struct.unpack_from(ARGS + RESULTS, args)[-3:]
    print(names[label], f"{score:.4f}", *(f"{x:.9g}" for x in logits), text)
check(model_close(model))
