"""Instructions of one layer of SqueezeBERT-base, in squeezeops and other libraries: ``python -m bench.arm layer``.

The others run in a Python for AArch64 under the same QEMU. Writing their graphs needs numpy and onnx on this machine.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from bench.arm.build import FOLDER, ROOT, build_mark, tests_module
from bench.arm.counting import Counts, kinds, run_counted
from bench.arm.instructions import loops_inside, of_addresses

TOKENS = 32
FLOAT_ATTENTION = ", float attention"
# Name, dtypes of weights and of attention, and the processor that QEMU emulates.
OURS = (
    ("squeezeops float32", "f32", "f32", "cortex-a76"),
    ("squeezeops float16 weights", "f16", "f32", "cortex-a76"),
    ("squeezeops int8, neon", "s8", "s8", "cortex-a72"),
    ("squeezeops int8, neon_dotprod", "s8", "s8", "cortex-a76"),
    ("squeezeops int8, neon_i8mm", "s8", "s8", "max"),
    (f"squeezeops int8, neon{FLOAT_ATTENTION}", "s8", "f32", "cortex-a72"),
    (f"squeezeops int8, neon_dotprod{FLOAT_ATTENTION}", "s8", "f32", "cortex-a76"),
    (f"squeezeops int8, neon_i8mm{FLOAT_ATTENTION}", "s8", "f32", "max"),
)
PEER_CPU = "cortex-a76"
CPUINFO = """\
processor	: 0
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

"""
ONNX_FORMS = ("conv1d", "conv2d", "contrib", "split", "batched")


def _row(name: str, cpu: str, tokens: int, counts: Counts, calls: int = 1) -> dict[str, Any]:
    sums = {kind: count / calls for kind, count in kinds(counts).items()}
    return {"name": name, "processor": cpu, "tokens": tokens, "instructions": counts.total() / calls, "kinds": sums}


def our_rows(build: Path, tokens: int = TOKENS, only: str = "") -> list[dict[str, Any]]:
    """Count our layer through the C interface; return one row for each of `OURS` with `only` in its name."""
    rows = []
    for name, dtype, attention, cpu in OURS:
        if only not in name:
            continue
        _, intervals = run_counted(build, cpu, [build / "driver"], text=f"layer {dtype} {tokens} {attention}\n")
        inside = of_addresses(intervals[1], loops_inside(build, intervals[1:2]))
        rows.append({**_row(name, cpu, tokens, intervals[1]), "inner_loop": kinds(inside)})
    return rows


def python_for_arm() -> tuple[Path, Path]:
    """Return the root folder of a Python for AArch64 with numpy and onnxruntime, and that Python.

    The script of the tests makes it on first use.
    """
    tests = tests_module("python_tests")
    root: Path = tests.root_of(dataclasses.replace(tests.ARM64, wheels=("numpy", "onnxruntime")))
    cpuinfo = root / "proc/cpuinfo"  # onnxruntime's CPU detection fails without it
    if not cpuinfo.exists():
        cpuinfo.parent.mkdir(exist_ok=True)
        cpuinfo.write_text(CPUINFO, encoding="ascii")
    return root, tests.python_of(root)


def write_graph(path: Path, form: str, weights: dict[str, Any]) -> None:
    """Write the first layer in one of `bench.graph.FORMS`, from "x" (1, tokens, channels) to "result"."""
    import onnx
    from onnx import TensorProto, helper

    from bench.graph import Graph, layer, model_of
    from bench.model import CONFIG

    g, shape = Graph(weights), [1, TOKENS, CONFIG["hidden_size"]]
    g.nodes.append(helper.make_node("ReduceMax", ["x", g.ints(2)], ["input_ids"], keepdims=0))  # for its shape
    y = layer(g, "x", "encoder.layers.0", form, False)
    g.nodes.append(helper.make_node("Identity", [y], ["result"]))
    onnx.save(model_of(g, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], shape), path)


def peer_rows(build: Path) -> list[dict[str, Any]]:
    """Count the other libraries."""
    import numpy as np

    from bench.model import make_weights

    root, python = python_for_arm()
    folder = build / "layer"
    folder.mkdir(exist_ok=True)
    build_mark(folder)
    prefix = "encoder.layers.0."
    weights = {name: value for name, value in make_weights().items() if name.startswith(prefix)}
    np.savez(folder / "weights.npz", **{name[len(prefix) :]: value for name, value in weights.items()})  # type: ignore[arg-type]
    x = np.random.default_rng(1).standard_normal((TOKENS, 768), np.float32)
    np.save(folder / "x.npy", x)
    runs: list[tuple[str, str, Path, dict[str, str]]] = []
    for form in ONNX_FORMS:
        write_graph(folder / f"{form}.onnx", form, weights)
        runs.append((f"onnxruntime, {form}", "onnxruntime", folder / f"{form}.onnx", {}))
    runs.append(("NumPy with OpenBLAS", "squeezeops", folder / "weights.npz", {"SQUEEZEOPS_BACKEND": "numpy"}))
    rows, computed = [], set()
    for name, library, file, environment in runs:
        environment |= {"PYTHONPATH": os.pathsep.join((str(root / "site"), str(ROOT))), "OPENBLAS_NUM_THREADS": "1"}
        script = (FOLDER / "guest.py", folder / "libmark.so", library, file, folder / "x.npy")
        program = (python, *script)
        output, intervals = run_counted(build, PEER_CPU, program, qemu=("-L", root), environment=environment)
        computed.add(output.strip())
        rows.append(_row(name, PEER_CPU, TOKENS, intervals[3] - intervals[1], 2))
    if len(computed) > 1:
        raise RuntimeError(f"the libraries do not compute the same: mean and standard deviation {sorted(computed)}")
    return rows
