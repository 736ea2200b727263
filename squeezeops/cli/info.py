"""``squeezeops info``: the installation, and the kernels that run on this machine."""

from __future__ import annotations

import argparse
import os
from typing import Any

from squeezeops.cli import streams
from squeezeops.cli.running import MODEL_HELP
from squeezeops.squeezebert.files.built_in import BUILT_IN, built_in_folder

SUMMARY = "describe this installation"
DESCRIPTION = "Describe this installation: versions, processor, kernels, built-in model."
EPILOG = """\
Examples:

  squeezeops info
  squeezeops info --json --model MODEL
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"describe this model, without loading it, instead of the built-in: {MODEL_HELP}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    """Print the description."""
    facts = describe_installation(arguments.model)
    streams.set_output(arguments.json)
    if arguments.json:
        print(streams.to_json(facts, indent=2))
    else:
        print("\n".join(line.translate(streams.ONE_LINE) for line in as_lines(facts)))


def describe_installation(path: str | None = None) -> dict[str, Any]:
    """Return versions, machine, backends, kernels, and the model at `path`, by default the built-in one."""
    from squeezeops import ops
    from squeezeops.benchmark.machine import describe_machine

    cpu, model = ops.cpu_info(), _model_facts(path)
    return {
        **describe_machine(),
        "backend": ops.get_backend(),
        "backends": list(ops.available_backends()),
        "threads": ops.get_num_threads(),
        "cpu": cpu,
        "kernels": _kernels(ops.get_backend(), cpu),
        "model": model,
    }


def _kernels(backend: str, cpu: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each op's kernel on the active backend, and why it was chosen; empty if the backend has no kernels."""
    from squeezeops import backends
    from squeezeops.benchmark.variants import compiled_library

    if not backends.load(backend).cpu_info()["isas"]:
        return []
    library = compiled_library()
    table = {row["symbol"]: row for row in library.kernel_table()} if library else {}
    forced = bool(os.environ.get("SQUEEZEOPS_ISA"))
    own, why = f"{cpu['isa']} is the best that runs here", "the best that runs here"
    if forced:
        own = why = "forced by SQUEEZEOPS_ISA"
    fallback = f"fallback of {cpu['isa']}, {why}"
    kernels = []
    for op, symbol in cpu["kernels"].items():
        row = table.get(symbol, {"isa": cpu["isa"], "tile": None})
        reason = own if row["isa"] == cpu["isa"] else fallback
        kernels.append({"op": op, "kernel": symbol, "isa": row["isa"], "tile": row["tile"], "why": reason})
    return kernels


def _model_facts(model: str | None) -> dict[str, Any] | None:
    """Describe a model, by default the built-in one, without loading it; None if there is no built-in model."""
    from squeezeops.squeezebert.files.converted import find_file
    from squeezeops.squeezebert.files.hub_cache import find_folder

    if model is None and not built_in_folder().is_dir():
        return None
    folder = find_folder(BUILT_IN if model is None else model)
    file = find_file(folder)
    return _checkpoint_facts(folder) if file is None else _converted_facts(file)


def _checkpoint_facts(folder: str) -> dict[str, Any]:
    from squeezeops.squeezebert.files.sentence_transformers import read_embedding
    from squeezeops.squeezebert.model.heads import choose_task
    from squeezeops.squeezebert.model.weights import load_folder

    config, weights = load_folder(folder)
    try:
        settings = read_embedding(folder)
        embedding = settings and settings.to_json()
    except (OSError, ValueError) as error:
        embedding = {"error": str(error)}
    return {
        "path": folder,
        "format": "Hugging Face",
        "dtype": " and ".join(sorted({str(array.dtype) for array in weights.values()})),
        "attention": None,  # chosen when it is loaded
        "task": choose_task(None, config, weights),
        "parameters": sum(array.size for array in weights.values()),
        "bytes": sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()),
        "embedding": embedding,
    }


def _converted_facts(file: str) -> dict[str, Any]:
    from math import prod

    from squeezeops.squeezebert.files.converted import ConvertedFile
    from squeezeops.squeezebert.model.heads import HEADS, choose_task
    from squeezeops.squeezebert.model.tensors import encoder_shapes
    from squeezeops.squeezebert.model.weights import config_of

    opened = ConvertedFile(file)
    config = config_of(opened)
    try:
        task = choose_task(opened.task, config, opened.names)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    shapes = dict(encoder_shapes(config)) | HEADS[task].shapes(config, opened.names)
    return {
        "path": file,
        "format": f"converted, version {opened.version}",
        "dtype": opened.dtype,
        "attention": opened.attention,
        "task": task,
        "parameters": sum(map(prod, shapes.values())),
        "bytes": os.path.getsize(file),
        "embedding": opened.embedding and opened.embedding.to_json(),
    }


def as_lines(facts: dict[str, Any]) -> list[str]:
    """Return the description as lines of text."""
    cpu, model = facts["cpu"], facts["model"]
    rows = [(name, facts[name]) for name in ("squeezeops", "python", "numpy", "platform")]
    rows.append(("processor", f"{facts['processor']}, {facts['cpus']} CPUs"))
    chosen = ", by SQUEEZEOPS_BACKEND" if os.environ.get("SQUEEZEOPS_BACKEND") else ""
    rows.append(("backend", f"{facts['backend']}{chosen} (available: {', '.join(facts['backends'])})"))
    if "native" not in facts["backends"]:
        does = "; NumPy does the arithmetic" if facts["backend"] == "numpy" else ""
        rows.append(("", f"the native extension is not built{does}"))
    rows.append(("threads", facts["threads"]))
    if cpu["isas"]:
        rows.append(("instructions", f"{cpu['isa']} (runnable here: {', '.join(cpu['isas'])})"))
    for isa, reason in cpu.get("missing", {}).items():
        rows.append(("left out", f"{isa}: {reason}"))
    title = "kernels"
    for kernel in facts["kernels"]:
        tile = f"tile {kernel['tile']}; " if kernel["tile"] else ""
        rows.append((title, f"{kernel['op']}: {kernel['kernel']} ({tile}{kernel['why']})"))
        title = ""
    if not facts["kernels"]:
        rows.append((title, f"none: the backend {facts['backend']} has no compiled ones"))
    if model is None:
        rows.append(("model", "none built in"))
    else:
        rows.append(("model", model["path"]))
        attention = f" with {model['attention']} attention" if model["attention"] else ""
        rows.append(("", f"format: {model['format']}; {model['dtype']}{attention}, for {model['task']}"))
        rows.append(("", f"{model['parameters']:,} parameters, {model['bytes']:,} bytes"))
        rows += [
            ("embedding" if i == 0 else "", line) for i, line in enumerate(_describe_embedding(model["embedding"]))
        ]
    return [row(name, value) for name, value in rows]


def row(name: str, value: object) -> str:
    return f"{name:<13} {value}"


def _describe_embedding(settings: dict[str, Any] | None) -> list[str]:
    """Return lines about how a model with files of sentence-transformers makes an embedding; none for another model."""
    if settings is None:
        return []
    if "error" in settings:
        return [settings["error"]]
    parts = [f"{' + '.join(settings['pooling'])} pooling", "length 1" if settings["normalize"] else "any length"]
    if settings["max_length"] is not None:
        parts.append(f"cut at {settings['max_length']} tokens")
    if settings["lower_case"]:
        parts.append("lower-cased")
    if settings["prompts"] and not settings["include_prompt"]:
        parts.append("prompts are not pooled")
    default = settings["default_prompt_name"]
    prompts = [f"prompt {n!r}: {t!r}{' (default)' if n == default else ''}" for n, t in settings["prompts"].items()]
    return [", ".join(parts), *prompts]
