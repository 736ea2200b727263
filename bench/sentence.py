"""What it costs to classify a sentence: ``python -m bench.sentence [NAME ...]``, each library in fresh processes.

All classify with the model that is built in here (`squeezeops` as it ships it, in int8; the others in float32, from
``examples/sentiment_checkpoint``). The table has the size of what was installed, with all dependencies; the seconds
from the start of Python to the first answer; the peak memory; and the time of a sentence, one after the other on one
thread. Medians of several processes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench.installed  # noqa: F401 before squeezeops is imported

# Whatever a measured process does not need is imported later, because it takes memory.
FOLDER = Path(__file__).parents[1] / "examples" / "sentiment_checkpoint"
SENTENCES = [
    "a gorgeous , witty , seductive movie .",
    "the film is strictly routine .",
    "it 's a charming and often affecting journey .",
    "unflinchingly bleak and desperate , and yet it never quite comes together as a film with something to say .",
]
RUNS = 7
NEEDS = {
    "squeezeops": ("numpy",),
    "onnxruntime": ("onnxruntime", "tokenizers"),
    "transformers": ("transformers", "torch"),
}


def squeezeops_() -> Callable[[str], Any]:
    import squeezeops

    squeezeops.set_num_threads(1)
    return squeezeops.pipeline("sentiment-analysis")


def transformers_() -> Callable[[str], Any]:
    import torch
    import transformers

    torch.set_num_threads(1)
    return transformers.pipeline("text-classification", model=str(FOLDER), device="cpu")  # type: ignore[no-any-return]


def onnxruntime_() -> Callable[[str], Any]:
    import numpy as np
    import onnxruntime
    import tokenizers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(exported()), options, providers=["CPUExecutionProvider"])
    encode = tokenizers.BertWordPieceTokenizer(str(FOLDER / "vocab.txt")).encode

    def classify(text: str) -> Any:
        ids = np.array([encode(text).ids], np.int64)
        return session.run(None, {"input_ids": ids})[0].argmax()

    return classify


def exported() -> Path:
    """Return the checkpoint as an ONNX graph. The first call writes it, which needs torch and transformers."""
    from bench.model import cache_folder, write_once

    def write(path: Path) -> None:
        import torch
        import transformers

        model = transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER, return_dict=False).eval()
        dims = {"input_ids": {0: "batch", 1: "length"}}
        ids = torch.ones((1, 7), dtype=torch.long)
        torch.onnx.export(
            model,
            (ids,),
            str(path),
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_axes=dims,
            dynamo=False,
        )

    return write_once(cache_folder() / "sentiment.onnx", write)


def installed(name: str) -> int:
    """Return the bytes of a library with all that it depends on."""
    import importlib.metadata
    import re

    from bench.footprint import files_of
    from bench.libraries import OURS

    found: set[str] = set()
    waiting = list(NEEDS[name])
    while waiting:
        each = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if each in found:
            continue
        try:
            requires = importlib.metadata.requires(each) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        found.add(each)
        waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requires if "extra ==" not in line]
    files = [file for each in found for file in files_of(each)]
    return sum(file.stat().st_size for file in [*files, *(files_of(OURS) if name == OURS else ())])


def peak() -> int:
    """Return the largest resident memory so far, in bytes."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def measure(name: str) -> dict[str, float]:
    """Measure a library in this process."""
    load: Callable[[], Callable[[str], Any]] = globals()[f"{name}_"]
    classify = load()
    classify(SENTENCES[0])
    answered = time.time()
    times = []
    for _ in range(70):
        begin = time.perf_counter()
        for text in SENTENCES:
            classify(text)
        times.append((time.perf_counter() - begin) / len(SENTENCES))
    return {"answered": answered, "sentence": sorted(times[20:])[25], "memory": peak()}


def main(names: list[str]) -> None:
    import statistics
    import subprocess

    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(RUNS + 1):  # the first one fills the page cache
        for name in names:
            begin = time.time()
            command = [sys.executable, "-m", "bench.sentence", "--measure", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            run = json.loads(done.stdout.splitlines()[-1])
            runs[name].append(run | {"start": run["answered"] - begin})
    print("| library | installed | first answer | memory | per sentence |\n| --- | --- | --- | --- | --- |")
    for name in names:
        start, memory, sentence = (
            statistics.median(run[key] for run in runs[name][1:]) for key in ("start", "memory", "sentence")
        )
        figures = f"{start:.2f} s | {memory / 1e6:.0f} MB | {sentence * 1e3:.2f} ms"
        print(f"| {name} | {installed(name) / 1e6:.0f} MB | {figures} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        exported()
        main(sys.argv[1:] or list(NEEDS))
