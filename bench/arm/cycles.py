"""Cycles of inner loops by LLVM's models of ARM processors: ``python -m bench.arm cycles``.

The limit of a loop is the time of its products and sums alone, through the ports that the model says they have. The
rest of the loop should run beside them. The models know no caches: all loads hit the first.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.arm.build import run_tool, tool
from bench.arm.loops import InnerLoop, kernel_loop

__all__ = ["MODELS", "Model", "cycles", "model_rows"]

ITERATIONS = 200  # in which the queues have filled
ANY_EXTENSION = "-mattr=+dotprod,+i8mm,+fullfp16"  # a model may be older than an instruction of the loop


class Model(NamedTuple):
    """A processor that a kernel's loop is held to.

    Attributes
    ----------
    kernel : str
        Its source file.
    processor : str
        By LLVM's name.
    stands_for : str
        The core of the boards in question.
    target : float or None
        Cycles in the limit, at most; None if they are only recorded.
    """

    kernel: str
    processor: str
    stands_for: str
    target: float | None


# LLVM takes cortex-a72 and cortex-a76 for cortex-a57. Its models of the in-order cores are doubtful.
MODELS = (
    Model("pwconv_f32_neon", "neoverse-n1", "Cortex-A76", 1.05),
    Model("pwconv_f32_neon", "cortex-a57", "Cortex-A72", 1.05),
    Model("pwconv_f32_neon", "cortex-a55", "Cortex-A55", None),
    Model("pwconv_f32_neon", "cortex-a53", "Cortex-A53", None),
    Model("pwconv_f16_neon", "neoverse-n1", "Cortex-A76", None),
    Model("pwconv_f16_neon", "cortex-a57", "Cortex-A72", None),
    Model("pwconv_f16_neon", "cortex-a53", "Cortex-A53", None),
    Model("pwconv_s8_neon", "cortex-a57", "Cortex-A72", 1.2),
    Model("pwconv_s8_neon", "cortex-a53", "Cortex-A53", 1.2),
    Model("pwconv_s8_neon", "cortex-a55", "Cortex-A55", None),
    Model("pwconv_s8_neon_dotprod", "neoverse-n1", "Cortex-A76", 1.05),
    Model("pwconv_s8_neon_dotprod", "cortex-a55", "Cortex-A55", None),
    Model("pwconv_s8_neon_i8mm", "neoverse-n2", "Neoverse N2", 1.05),
    Model("pwconv_s8_neon_i8mm", "neoverse-v1", "Neoverse V1", None),
    Model("attention_f32_neon", "neoverse-n1", "Cortex-A76", None),
    Model("attention_f32_neon", "cortex-a57", "Cortex-A72", None),
)


def _modelled(assembly: str, processor: str, iterations: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "loop.s"
        source.write_text(assembly, encoding="ascii")
        options = ("-mtriple=aarch64-linux-gnu", f"-mcpu={processor}", ANY_EXTENSION, f"-iterations={iterations}")
        output = run_tool(tool("llvm-mca-19", "llvm-19"), *options, "--json", source)
    (region,) = json.loads(output)["CodeRegions"]
    return dict(region["SummaryView"])


def cycles(loop: InnerLoop, processor: str) -> tuple[float, float, float]:
    """Return the cycles of a turn of a loop, those of its arithmetic alone, and those that all its ports allow."""
    first, second = (_modelled(loop.assembly(), processor, n) for n in (ITERATIONS, 2 * ITERATIONS))
    turn = (second["TotalCycles"] - first["TotalCycles"]) / ITERATIONS
    arithmetic = "".join(f"{i}\n" for i in loop.arithmetic)
    limit = float(_modelled(arithmetic, processor, 1)["BlockRThroughput"])
    return turn, limit, float(first["BlockRThroughput"])


def model_rows(build: Path) -> list[dict[str, Any]]:
    """The table: a row for each of `MODELS` whose kernel was compiled."""
    rows: list[dict[str, Any]] = []
    found: dict[str, InnerLoop | None] = {}
    for model in MODELS:
        if model.kernel not in found:
            found[model.kernel] = kernel_loop(build, model.kernel)
        loop = found[model.kernel]
        if loop is None:
            continue
        turn, limit, ports = cycles(loop, model.processor)
        rows.append(
            {
                **model._asdict(),
                "cycles": turn,
                "limit": limit,
                "all_ports": ports,
                "over_limit": turn / limit,
                "instructions": len(loop.instructions),
                "products": loop.products,
                "accumulators": loop.accumulators,
            }
        )
    return rows
