"""This project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.libraries import Inputs
from bench.model import saved_model
from squeezeops import ops
from squeezeops._version import __version__
from squeezeops.benchmark import cases
from squeezeops.benchmark.variants import compiled_library
from squeezeops.squeezebert import SqueezeBert

models: dict[str, SqueezeBert] = {}


def version() -> str:
    return __version__


def start(threads: int) -> None:
    if compiled_library() is None:
        raise ImportError("squeezeops has no compiled kernels here")
    ops.set_backend("native")
    ops.set_num_threads(threads)


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    return ("ragged",)


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    if task not in models:
        models[task] = SqueezeBert.from_pretrained(saved_model(), task=task)
    model = models[task]
    name = "last_hidden_state" if task == "base" else "logits"
    return lambda: [getattr(model(ids, mask), name) for ids, mask in inputs]


def op(name: str, shape: Any, cold: bool) -> Callable[[], Any] | None:
    row = cases.op_of(name)
    return row.make(**row.check(shape), **({"cold": cold} if row.has_weights else {})).call
