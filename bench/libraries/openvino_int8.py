"""OpenVINO in int8, as NNCF quantises it for transformers; what it leaves as it is runs in float32.

The settings are those of float32. Activations are calibrated on random tokens, like those that are run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino

from bench.graph import export
from bench.libraries import Inputs, openvino_
from bench.libraries.openvino_ import op, start
from bench.model import CONFIG, convolutions

__all__ = ["forms", "forward", "op", "start", "version"]

TEXTS, TOKENS = 16, 128  # of the calibration
FEW = 48  # tokens up to which "batched" is mostly ahead
PRODUCTS = ("Convolution", "FullyConnected", "MatMul")  # layers of an executed graph


def version() -> str:
    return f"{openvino_.version()}, nncf {nncf.__version__}"


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    if lengths > 1:
        return ("conv1d-any", "batched-any")
    return ("batched", "conv1d") if tokens <= FEW else ("conv1d", "batched")


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    graph, _, any_length = form.partition("-")
    path = quantized(graph, inputs[0].mask is not None, task)
    return openvino_.run_file(path, inputs, bool(any_length), check_executed)


def quantized(form: str, masked: bool, task: str) -> Path:
    """Return the file of a quantised form of the model; it is written the first time, which takes half a minute."""
    source = export(form, masked, task)
    path = source.with_name(f"{source.stem}-nncf-{nncf.__version__}.xml")
    if path.exists():
        return path
    logging.getLogger("nncf").setLevel(logging.ERROR)
    random = np.random.default_rng(4)
    texts = [{"input_ids": random.integers(0, CONFIG["vocab_size"], (1, TOKENS))} for _ in range(TEXTS)]
    if masked:
        texts = [{**text, "attention_mask": np.ones((1, TOKENS), np.int64)} for text in texts]
    model = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(texts),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=TEXTS,
    )
    written = path.with_name(f"{path.stem}.{os.getpid()}.xml")
    openvino.save_model(model, written, compress_to_fp16=False)
    written.with_suffix(".bin").rename(path.with_suffix(".bin"))
    written.rename(path)
    return path


def check_executed(compiled: Any) -> None:
    """RuntimeError unless every convolution of the encoder runs in int8."""
    found = executed(compiled)
    expected = CONFIG["num_hidden_layers"] * len(convolutions())
    int8 = [name for name, kind, precision in found if kind in PRODUCTS and precision in ("i8", "u8")]
    if len(int8) < expected:
        kinds = sorted({(kind, precision) for _, kind, precision in found if kind in PRODUCTS})
        raise RuntimeError(f"openvino-int8: expected {expected} products in int8, got {len(int8)} among {kinds}")


def executed(compiled: Any) -> list[tuple[str, str, str]]:
    """The nodes of the executed graph: name, type, precision."""
    nodes = []
    for node in compiled.get_runtime_model().get_ops():
        said = node.get_rt_info()
        kind, precision = (str(said[key].astype(str)) for key in ("layerType", "runtimePrecision"))
        nodes.append((str(node.get_friendly_name()), kind, precision.lower()))
    return nodes
