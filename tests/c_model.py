"""Models through the C interface, called through ctypes: what a program in C sees."""

import ctypes
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint64, c_void_p

import numpy as np

import squeezeops

LIBC = ctypes.CDLL(None)
LIB = ctypes.CDLL(squeezeops.get_library())
LIB.sqz_error_message.restype = c_char_p
STATUS = {0: "OK", 1: "INVALID", 2: "NO_MEMORY", 3: "UNSUPPORTED", 4: "TYPE"}


class Info(ctypes.Structure):
    _fields_ = [("size", c_size_t)]
    _fields_ += [(name, c_char_p) for name in ("task", "model_type", "dtype", "attention", "problem_type")]
    _fields_ += [("format", c_int32), ("normalize", c_int32)]
    _fields_ += [(name, c_int64) for name in ("vocab_size", "types", "max_tokens", "hidden_size", "layers", "labels")]
    _fields_ += [(name, c_int64) for name in ("pooled_size", "logits_size", "logits_per_token", "embedding_size")]


class RunArgs(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("model", c_uint64), ("batch", c_int64), ("length", c_int64)]
    _fields_ += [(name, c_void_p) for name in ("offsets", "ids", "type_ids", "mask", "logits_mask")]
    _fields_ += [("unpooled", c_int64)]
    _fields_ += [(name, c_void_p) for name in ("hidden", "all_hidden", "pooled", "logits", "embeddings", "workspace")]
    _fields_ += [("workspace_size", c_size_t)]


class Text(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_int64)]

    @classmethod
    def of(cls, text):
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return cls(data, len(data))


class ClassifyArgs(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("model", c_uint64), ("text", Text), ("pair", POINTER(Text))]
    _fields_ += [("truncate", c_int32), ("logits", c_void_p), ("scores", c_void_p)]
    _fields_ += [("label", c_int64), ("score", ctypes.c_double), ("tokens", c_int64)]


LIB.sqz_model_open.argtypes = [c_char_p, c_char_p, POINTER(c_uint64)]
LIB.sqz_model_open_memory.argtypes = [c_void_p, c_size_t, c_char_p, POINTER(c_uint64)]
LIB.sqz_model_close.argtypes = [c_uint64]
LIB.sqz_model_get_info.argtypes = [c_uint64, POINTER(Info)]
LIB.sqz_model_label.argtypes = [c_uint64, c_int64, c_void_p, c_size_t]
LIB.sqz_model_label.restype = c_int64
LIB.sqz_model_workspace_size.argtypes = [c_uint64, c_int64, c_int64, c_int64]
LIB.sqz_model_workspace_size.restype = c_int64
LIB.sqz_model_run.argtypes = [POINTER(RunArgs)]
LIB.sqz_model_tokenizer.argtypes = [c_uint64, POINTER(c_uint64)]
LIB.sqz_model_classify.argtypes = [POINTER(ClassifyArgs)]


class CError(Exception):
    """What a function of the library complained about: its status and its message."""

    def __init__(self, status):
        super().__init__(LIB.sqz_error_message().decode("utf-8", "replace"))
        self.status = STATUS[status]


def check(status):
    if status:
        raise CError(status)


def address(array):
    return None if array is None else array.ctypes.data


def in_memory(data):
    """Bytes at an address that is a multiple of 64."""
    room = np.zeros(len(data) + 64, np.uint8)
    start = -room.ctypes.data % 64
    array = room[start : start + len(data)]
    array[:] = np.frombuffer(data, np.uint8)
    return array


@contextmanager
def exactly(data):
    """Bytes at an address that is a multiple of 64, in a block of their size: AddressSanitizer sees its end."""
    place = c_void_p()
    assert LIBC.posix_memalign(byref(place), c_size_t(64), c_size_t(len(data))) == 0
    ctypes.memmove(place, data, len(data))
    try:
        yield np.ctypeslib.as_array((ctypes.c_uint8 * len(data)).from_address(place.value or 0))
    finally:
        LIBC.free(place)


class CModel:
    """A model of the C library."""

    def __init__(self, source, task=None):
        handle = c_uint64()
        task = None if task is None else task.encode()
        if isinstance(source, np.ndarray):
            self.bytes = source
            check(LIB.sqz_model_open_memory(source.ctypes.data, source.size, task, byref(handle)))
        else:
            check(LIB.sqz_model_open(str(source).encode(), task, byref(handle)))
        self.handle = handle.value
        self.info = Info(size=ctypes.sizeof(Info))
        check(LIB.sqz_model_get_info(self.handle, byref(self.info)))

    def close(self):
        check(LIB.sqz_model_close(self.handle))

    def label(self, index):
        room = ctypes.create_string_buffer(200)
        length = LIB.sqz_model_label(self.handle, index, room, len(room))
        if length < 0:
            raise CError(1)
        assert length == len(room.value)
        return room.value.decode()

    def args(self, ids, mask=None, types=None, offsets=None, **results):
        """The arguments of a run over ids (B, L), or (T,) with offsets; keeps alive what they point to."""
        ids = np.array(ids, np.int64)
        keep = [ids]
        args = RunArgs(size=ctypes.sizeof(RunArgs), model=self.handle, ids=ids.ctypes.data)
        if offsets is None:
            args.batch, args.length = ids.size // ids.shape[-1], ids.shape[-1]
        else:
            keep.append(np.array(offsets, np.int32))
            args.batch, args.offsets = len(offsets) - 1, keep[-1].ctypes.data
        for name, value, dtype in (("type_ids", types, np.int64), ("mask", mask, np.uint8)):
            if value is not None:
                keep.append(np.array(value, dtype))
                setattr(args, name, keep[-1].ctypes.data)
        for name, value in results.items():
            setattr(args, name, value.ctypes.data if isinstance(value, np.ndarray) else value)
            keep.append(value)
        args.keep = keep
        return args

    def run(self, ids, mask=None, types=None, offsets=None, *, want=(), logits_mask=None, **options):
        """Return the wanted results, by name."""
        info, ids = self.info, np.asarray(ids)
        batch = ids.size // ids.shape[-1] if offsets is None else len(offsets) - 1
        tokens, logits = ids.size, info.logits_size
        of_logits = tokens if info.logits_per_token else batch
        if logits_mask is not None:
            logits_mask = np.array(logits_mask, np.uint8)
            options["logits_mask"], of_logits = logits_mask, int((logits_mask != 0).sum())
        shapes = {
            "hidden": (tokens, info.hidden_size),
            "all_hidden": (info.layers + 1, tokens, info.hidden_size),
            "pooled": (batch, info.hidden_size),
            "logits": (of_logits, logits),
            "embeddings": (batch, info.embedding_size),
        }
        results = {name: np.full(shapes[name], 7, np.float32) for name in want}
        check(LIB.sqz_model_run(byref(self.args(ids, mask, types, offsets, **options, **results))))
        return results

    def tokenizer(self):
        handle = c_uint64()
        check(LIB.sqz_model_tokenizer(self.handle, byref(handle)))
        return handle.value

    def classify(self, text, pair=None, truncate=False):
        """Return the label, its score, all scores, the logits and the number of tokens."""
        args = ClassifyArgs(size=ctypes.sizeof(ClassifyArgs), model=self.handle, text=Text.of(text), truncate=truncate)
        if pair is not None:
            args.pair = ctypes.pointer(Text.of(pair))
        logits, scores = np.zeros((2, max(1, self.info.logits_size)), np.float32)
        args.logits, args.scores = logits.ctypes.data, scores.ctypes.data
        check(LIB.sqz_model_classify(byref(args)))
        return args.label, args.score, scores, logits, args.tokens
