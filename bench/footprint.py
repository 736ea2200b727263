"""What a library costs besides the time of a call: ``python -m bench.footprint NAME`` in a fresh process.

Prints JSON: the seconds to import it and to load the model for a text of 128 tokens, the peak memory after the first
call, and the installed size of its own distribution, without dependencies.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench.installed  # noqa: F401 before squeezeops is imported
from bench.libraries import LIBRARIES, OURS

# The package imports them lazily.
IMPORTED = {OURS: ("squeezeops.squeezebert.model.squeezebert", "squeezeops.backends.native")}
NOT_INSTALLED = ("__pycache__", ".stage")


def footprint(name: str, compressed: bool) -> dict[str, Any] | None:
    """Measure a library in a fresh process; None if it is missing.

    `compressed` adds the size in a wheel, which takes a while.
    """
    from bench import model

    model.saved_model()  # write it before anything is measured
    command = [sys.executable, "-m", "bench.footprint", name, str(int(compressed))]
    runs = []
    for _ in range(2):  # the second run finds the files in the page cache
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            return None
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        command[-1] = "0"
    return {**runs[0], **{key: value for key, value in runs[1].items() if value is not None}}


def files_of(name: str) -> list[Path]:
    """Return the installed files of a distribution; for this project those of the package, which may be a checkout."""
    if name == OURS:
        import squeezeops

        found = Path(squeezeops.__file__).parent.rglob("*")
        return [p for p in found if p.is_file() and not any(part.startswith(NOT_INSTALLED) for part in p.parts)]
    listed = importlib.metadata.files(name) or []
    return [path for path in (Path(str(file.locate())) for file in listed) if path.is_file() and path.suffix != ".pyc"]


def peak_memory() -> int:
    """Return bytes, from /proc if possible, because getrusage includes what the parent process held."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(arguments: Sequence[str]) -> None:
    name, compressed = arguments[0], arguments[1] == "1"
    begin = time.perf_counter()
    for module in IMPORTED.get(name, (name,)):
        importlib.import_module(module)
    imported = time.perf_counter() - begin
    after_import = peak_memory()

    # Imports of the bench itself come after the library's are measured.
    library = importlib.import_module(f"bench.libraries.{LIBRARIES[name]}")
    from bench.cases import padded

    inputs = [padded([128])]
    library.start(1)
    begin = time.perf_counter()
    call = library.forward(library.forms(128, 1)[0], "base", inputs)
    loaded = time.perf_counter() - begin
    call()
    files = files_of(name)
    result = {
        "import_seconds": imported,
        "load_seconds": loaded,
        "memory_after_import": after_import,
        "memory": peak_memory(),
        "installed": sum(file.stat().st_size for file in files),
        "wheel": sum(len(zlib.compress(file.read_bytes())) for file in files) if compressed else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
