"""``squeezeops info``: what is installed, and what of it this machine runs."""

from __future__ import annotations

import argparse
from typing import Any

from squeezeops._version import __version__
from squeezeops.cli import streams


def run(arguments: argparse.Namespace) -> None:
    """Print the facts."""
    facts = _facts()
    streams.set_output(arguments.json)
    if arguments.json:
        import json

        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_describe(facts)))


def _facts() -> dict[str, Any]:
    import platform

    import numpy

    from squeezeops import ops

    return {
        "squeezeops": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "backend": ops.get_backend(),
        "backends": list(ops.available_backends()),
        "threads": ops.get_num_threads(),
        "cpu": ops.cpu_info(),
        "model": _model_facts(),
    }


def _model_facts() -> dict[str, Any] | None:
    """Describe the built-in model without loading it; None if this installation has none."""
    from math import prod

    from squeezeops.pipelines import default_model
    from squeezeops.squeezebert.safetensors import read_header

    folder = default_model()
    if not folder.is_dir():
        return None
    tensors, _ = read_header(folder / "model.safetensors")
    return {
        "path": str(folder),
        "parameters": sum(prod(tensor.shape) for tensor in tensors.values()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
    }


def _describe(facts: dict[str, Any]) -> list[str]:
    """Lay the facts out for reading."""
    cpu, model = facts["cpu"], facts["model"]
    rows = [(name, facts[name]) for name in ("squeezeops", "python", "numpy", "platform")]
    rows.append(("backend", f"{facts['backend']} (available: {', '.join(facts['backends'])})"))
    if "native" not in facts["backends"]:
        rows.append(("", "the native extension is not built; NumPy does the arithmetic"))
    rows.append(("threads", facts["threads"]))
    if cpu["isas"]:
        rows.append(("instructions", f"{cpu['isa']} (runnable here: {', '.join(cpu['isas'])})"))
    for isa, reason in cpu.get("missing", {}).items():
        rows.append(("left out", f"{isa}: {reason}"))
    title = "kernels"
    for op, symbol in cpu["kernels"].items():
        rows.append((title, f"{op}: {symbol}"))
        title = ""
    if model is None:
        rows.append(("model", "none built in"))
    else:
        rows.append(("model", model["path"]))
        rows.append(("", f"{model['parameters']:,} parameters, {model['bytes']:,} bytes"))
    return [f"{name:<13} {value}" for name, value in rows]
