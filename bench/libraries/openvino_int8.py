"""OpenVINO in int8, quantised by NNCF for transformers. The rest runs in float32, with the same settings.

Activations are calibrated on random tokens, because random tokens are measured.
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

from bench.executed import check_int8
from bench.graph import export
from bench.libraries import Inputs, openvino_
from bench.libraries.openvino_ import OPS, start
from bench.model import CONFIG, convolutions

__all__ = ["OPS", "forms", "forward", "start", "version"]

TEXTS, TOKENS = 16, 128  # for calibration
FEW = 48  # tokens up to which "batched" usually wins


def version() -> str:
    return f"{openvino_.version()}, nncf {nncf.__version__}"


def forms(tokens: int, lengths: int) -> tuple[str, ...]:
    if lengths > 1:
        return ("conv1d-any", "batched-any")
    return ("batched", "conv1d") if tokens <= FEW else ("conv1d", "batched")


def forward(form: str, task: str, inputs: list[Inputs]) -> Callable[[], list[Any]]:
    graph, _, any_length = form.partition("-")
    path = quantized(graph, inputs[0].mask is not None, task)
    encoder = CONFIG["num_hidden_layers"] * len(convolutions())
    return openvino_.run_file(path, inputs, bool(any_length), lambda compiled: check_int8(compiled, encoder))


def quantized(form: str, masked: bool, task: str) -> Path:
    """Return the file of a quantised form of the model. The first call writes it, which takes half a minute."""
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
