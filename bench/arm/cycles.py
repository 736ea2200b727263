"""Cycles of inner loops, predicted by LLVM's models of ARM processors: ``python -m bench.arm cycles``.

The limit of a loop is the time of its products and sums alone, on the ports that the model gives them. The rest of the
loop should run beside them. The models have no caches: every load hits L1.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.arm.build import run_tool
from bench.arm.loops import InnerLoop, kernel_loop

ITERATIONS = 200  # enough to fill the queues
ANY_EXTENSION = "-mattr=+dotprod,+i8mm,+fullfp16"  # a model may be older than an instruction of the loop


class Model(NamedTuple):
    """A processor whose model judges a kernel's loop."""

    kernel: str  # its symbol
    processor: str  # by LLVM's name
    stands_for: str  # the core of the boards in question
    target: float | None  # the most cycles, relative to the limit; None if they are only recorded


# LLVM uses the model of cortex-a57 for cortex-a72 and cortex-a76. Its models of the in-order cores are doubtful.
MODELS = (
    Model("pwconv_f32_neon", "neoverse-n1", "Cortex-A76", 1.05),
    Model("pwconv_f32_neon", "cortex-a57", "Cortex-A72", 1.05),
    Model("pwconv_f32_neon", "cortex-a55", "Cortex-A55", None),
    Model("pwconv_f32_neon", "cortex-a53", "Cortex-A53", 1.5),
    Model("pwconv_f16_neon", "neoverse-n1", "Cortex-A76", 1.05),
    Model("pwconv_f16_neon", "cortex-a57", "Cortex-A72", 1.05),
    Model("pwconv_f16_neon", "cortex-a53", "Cortex-A53", 1.5),
    Model("pwconv_s8_neon", "cortex-a57", "Cortex-A72", 1.2),
    Model("pwconv_s8_neon", "cortex-a53", "Cortex-A53", 1.2),
    Model("pwconv_s8_neon", "cortex-a55", "Cortex-A55", None),
    Model("pwconv_s8_neon_dotprod", "neoverse-n1", "Cortex-A76", 1.05),
    Model("pwconv_s8_neon_dotprod", "cortex-a55", "Cortex-A55", None),
    Model("pwconv_s8_neon_i8mm", "neoverse-n2", "Neoverse N2", 1.05),
    Model("pwconv_s8_neon_i8mm", "neoverse-v1", "Neoverse V1", None),
    Model("attention_f32_neon", "neoverse-n1", "Cortex-A76", None),
    Model("attention_f32_neon", "cortex-a57", "Cortex-A72", None),
    Model("attention_s8_neon", "cortex-a57", "Cortex-A72", None),
    Model("attention_s8_neon_dotprod", "neoverse-n1", "Cortex-A76", None),
    Model("attention_s8_neon_i8mm", "neoverse-n2", "Neoverse N2", None),
)


def _modelled(assembly: str, processor: str, iterations: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "loop.s"
        source.write_text(assembly, encoding="ascii")
        options = ("-mtriple=aarch64-linux-gnu", f"-mcpu={processor}", ANY_EXTENSION, f"-iterations={iterations}")
        output = run_tool("llvm-mca-19", *options, "--json", source)
    (region,) = json.loads(output)["CodeRegions"]
    return dict(region["SummaryView"])


def cycles(loop: InnerLoop, processor: str) -> tuple[float, float, float]:
    """Return the cycles of one iteration of a loop, of its arithmetic alone, and the limit of all its ports."""
    first, second = (_modelled(loop.assembly(), processor, n) for n in (ITERATIONS, 2 * ITERATIONS))
    turn = (second["TotalCycles"] - first["TotalCycles"]) / ITERATIONS
    arithmetic = "".join(f"{i}\n" for i in loop.arithmetic)
    limit = float(_modelled(arithmetic, processor, 1)["BlockRThroughput"])
    return turn, limit, float(first["BlockRThroughput"])


def model_rows(build: Path) -> list[dict[str, Any]]:
    """Return one row for each of `MODELS` whose kernel was compiled."""
    rows: list[dict[str, Any]] = []
    loops = {kernel: kernel_loop(build, kernel) for kernel in dict.fromkeys(model.kernel for model in MODELS)}
    for model in MODELS:
        if loop := loops[model.kernel]:
            turn, limit, ports = cycles(loop, model.processor)
            figures = {"cycles": turn, "limit": limit, "all_ports": ports, "over_limit": turn / limit}
            sizes = {"instructions": len(loop.instructions), "products": loop.products}
            rows.append({**model._asdict(), **figures, **sizes, "accumulators": loop.accumulators})
    return rows
