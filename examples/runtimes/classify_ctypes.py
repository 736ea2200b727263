"""Classify texts with ctypes, which comes with Python. No other package is needed::

    python classify_ctypes.py libsqueezeops.so model.safetensors "a gorgeous, witty, seductive movie"

Prints a line per text: the class, its score, the logits of all classes, the text.
"""

import ctypes
import sys
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint64


class Text(Structure):
    _fields_ = [("data", c_char_p), ("size", c_int64)]


class ClassifyArgs(Structure):
    _fields_ = [
        ("size", c_size_t), ("model", c_uint64), ("text", Text), ("pair", POINTER(Text)), ("truncate", c_int32),
        ("logits", POINTER(c_float)), ("scores", POINTER(c_float)), ("label", c_int64), ("score", c_double),
        ("tokens", c_int64),
    ]  # fmt: skip


def check(status):
    if status:
        raise ValueError(library.sqz_error_message().decode())


if len(sys.argv) < 4:
    sys.exit("usage: classify_ctypes.py LIBRARY MODEL TEXT...")
library = ctypes.CDLL(sys.argv[1])
library.sqz_error_message.restype = c_char_p
library.sqz_model_label.argtypes = [c_uint64, c_int64, c_char_p, c_size_t]
library.sqz_model_label.restype = c_int64
library.sqz_model_close.argtypes = [c_uint64]

model = c_uint64()
check(library.sqz_model_open(sys.argv[2].encode(), None, byref(model)))
names = []
while library.sqz_model_label(model, len(names), room := ctypes.create_string_buffer(64), 64) >= 0:
    names.append(room.value.decode())
logits = (c_float * len(names))()
for text in sys.argv[3:]:
    data = text.encode()
    args = ClassifyArgs(ctypes.sizeof(ClassifyArgs), model, Text(data, len(data)), logits=logits)
    check(library.sqz_model_classify(byref(args)))
    print(names[args.label], f"{args.score:.4f}", *(f"{x:.9g}" for x in logits), text)
check(library.sqz_model_close(model))
