"""Classify texts by the C library through ctypes, without NumPy and without a compiled Python module.

It runs in Pyodide, where the library is a side module (``python examples/web/build.py --pyodide``), and in any other
Python, where it is ``squeezeops.get_library()``::

    library = load("squeezeops_relaxed.so", "squeezeops.so")
    with open("sentiment.safetensors", "rb") as file:
        model = Model(library, file.read())
    model.classify("a gorgeous, witty, seductive movie")
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from typing import Any

__all__ = ["Model", "SqueezeopsError", "load"]


class SqueezeopsError(ValueError):
    """What a function of the library complained about: its status, and its message."""

    def __init__(self, library: ctypes.CDLL, status: int) -> None:
        super().__init__(library.sqz_error_message().decode())
        self.status = status


# Structs of squeezeops.h.
class _Text(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_int64)]


class _Info(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        *((name, c_char_p) for name in ("task", "model_type", "dtype", "attention", "problem_type")),
        *((name, c_int32) for name in ("format", "normalize")),
        *((name, c_int64) for name in ("vocab_size", "types", "max_tokens", "hidden_size", "layers", "labels")),
        *((name, c_int64) for name in ("pooled_size", "logits_size", "logits_per_token", "embedding_size")),
    ]


class _RunArgs(ctypes.Structure):
    _fields_ = [
        *(("size", c_size_t), ("model", c_uint64), ("batch", c_int64), ("length", c_int64)),
        *((name, c_void_p) for name in ("offsets", "ids", "type_ids", "mask", "logits_mask")),
        ("unpooled", c_int64),
        *((name, c_void_p) for name in ("hidden", "all_hidden", "pooled", "logits", "embeddings", "workspace")),
        ("workspace_size", c_size_t),
    ]


class _ClassifyArgs(ctypes.Structure):
    _fields_ = [
        *(("size", c_size_t), ("model", c_uint64), ("text", _Text), ("pair", POINTER(_Text)), ("truncate", c_int32)),
        *(("logits", c_void_p), ("scores", c_void_p)),
        *(("label", c_int64), ("score", c_double), ("tokens", c_int64)),
    ]


def load(*paths: str) -> ctypes.CDLL:
    """Load the first library that this host can run.

    Parameters
    ----------
    *paths : str
        Files, best first. A host without relaxed SIMD refuses a module that has it.

    Raises
    ------
    SqueezeopsError
        The last one loads, but none of its instruction sets runs here.
    OSError
        The last one cannot be loaded.
    """
    for path in paths:
        try:
            library = ctypes.CDLL(path)
        except Exception as error:  # Pyodide raises what WebAssembly does
            if path == paths[-1]:
                raise OSError(f"load: paths: expected a library for this host, got {path}: {error}") from error
            continue
        for name in ("sqz_error_message", "sqz_isa_chosen", "sqz_version"):
            getattr(library, name).restype = c_char_p
        library.sqz_model_open_memory.argtypes = [c_void_p, c_size_t, c_char_p, POINTER(c_uint64)]
        library.sqz_model_close.argtypes = [c_uint64]
        library.sqz_model_get_info.argtypes = [c_uint64, POINTER(_Info)]
        library.sqz_model_label.argtypes = [c_uint64, c_int64, c_void_p, c_size_t]
        library.sqz_model_label.restype = c_int64
        library.sqz_model_run.argtypes = [POINTER(_RunArgs)]
        library.sqz_model_classify.argtypes = [POINTER(_ClassifyArgs)]
        if library.sqz_isa_chosen():
            return library
    raise SqueezeopsError(library, 3)


class Model:
    """A converted model.

    Parameters
    ----------
    library : ctypes.CDLL
        From `load`.
    data : bytes
        What ``squeezeops convert`` wrote.
    """

    def __init__(self, library: ctypes.CDLL, data: bytes) -> None:
        self._library, self._handle = library, c_uint64()
        # They stay where they are while the model is open, at a multiple of 64.
        self._room = ctypes.create_string_buffer(len(data) + 64)
        start = ctypes.addressof(self._room) + -ctypes.addressof(self._room) % 64
        ctypes.memmove(start, data, len(data))
        self._check(library.sqz_model_open_memory(start, len(data), None, byref(self._handle)))
        info = _Info(size=ctypes.sizeof(_Info))
        self._check(library.sqz_model_get_info(self._handle, byref(info)))
        self._logits = info.logits_size
        self.labels = [self._label(i) for i in range(info.labels)]

    def _check(self, status: int) -> None:
        if status:
            raise SqueezeopsError(self._library, status)

    def _label(self, index: int) -> str:
        room = ctypes.create_string_buffer(1024)
        if self._library.sqz_model_label(self._handle, index, room, len(room)) < 0:
            raise SqueezeopsError(self._library, 1)
        return room.value.decode()

    def logits(self, ids: Sequence[int]) -> list[float]:
        """Return the logits of a sequence of tokens: those of the tokenizer in Python, for example."""
        tokens, logits = (c_int64 * len(ids))(*ids), (c_float * self._logits)()
        args = _RunArgs(ctypes.sizeof(_RunArgs), self._handle.value, 1, len(ids))
        args.ids, args.logits = ctypes.addressof(tokens), ctypes.addressof(logits)
        self._check(self._library.sqz_model_run(byref(args)))
        return list(logits)

    def classify(self, text: str) -> dict[str, Any]:
        """Classify a text with the tokenizer of the library. One that is too long is cut."""
        data, logits, scores = text.encode(), (c_float * self._logits)(), (c_float * self._logits)()
        args = _ClassifyArgs(ctypes.sizeof(_ClassifyArgs), self._handle.value, _Text(data, len(data)))
        args.truncate, args.logits, args.scores = 1, ctypes.addressof(logits), ctypes.addressof(scores)
        self._check(self._library.sqz_model_classify(byref(args)))
        found = {"label": self.labels[args.label], "score": args.score, "tokens": args.tokens}
        return {**found, "logits": list(logits), "scores": list(scores)}

    def close(self) -> None:
        """Free what the library holds."""
        self._check(self._library.sqz_model_close(self._handle))
