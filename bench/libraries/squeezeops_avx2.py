"""This project, held to its AVX2 kernels; its peaks are those of AVX2, too."""

from __future__ import annotations

from bench.libraries import squeezeops_
from bench.libraries.squeezeops_ import forms, forward, op, version
from squeezeops.benchmark.variants import compiled_library

__all__ = ["forms", "forward", "op", "start", "version"]


def start(threads: int) -> None:
    squeezeops_.start(threads)
    library = compiled_library()
    if library is None or "avx512" not in library.cpu_info()["isas"]:
        raise ImportError("there is no AVX-512 here to compare AVX2 with")
    library.force_isa("avx2")
