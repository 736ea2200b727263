"""This project."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bench.libraries import Inputs
from bench.model import saved_model
from squeezeops import ops
from squeezeops._version import __version__
from squeezeops.benchmark import cases
from squeezeops.benchmark.variants import compiled_library
from squeezeops.squeezebert import SqueezeBert

models: dict[tuple[str, str], SqueezeBert] = {}


def version() -> str:
    return __version__


def start(threads: int) -> None:
    library, isa = compiled_library(), os.environ.get("SQUEEZEOPS_ISA")
    if library is None:
        raise ImportError("squeezeops has no compiled kernels here")
    if isa and isa not in ops.cpu_info()["isas"]:
        raise ImportError(f"there is no {isa} here")
    ops.set_backend("native")
    ops.set_num_threads(threads)


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    """Other dtypes than float32 are a suffix: "ragged-int8"."""
    return ("ragged",)


def forward(form: str, task: Any, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    dtype: Any = form.partition("-")[2] or "float32"
    if (task, dtype) not in models:
        models[task, dtype] = SqueezeBert.from_pretrained(saved_model(), dtype=dtype, task=task)
    model = models[task, dtype]
    name = "last_hidden_state" if task == "base" else "logits"
    return lambda: [getattr(model(ids, mask), name) for ids, mask in inputs]


def _maker(op: cases.Op) -> Callable[..., Callable[[], Any]]:
    return lambda **given: op.make(**given).call


OPS = {op.name: _maker(op) for op in cases.OPS}
