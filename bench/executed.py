"""What OpenVINO executes, which may differ from what the model says."""

from __future__ import annotations

from typing import Any

PRODUCTS = ("Convolution", "FullyConnected", "MatMul")


def executed(compiled: Any) -> list[tuple[str, str]]:
    """Return the type and precision of each product of the executed graph."""
    nodes = []
    for node in compiled.get_runtime_model().get_ops():
        said = node.get_rt_info()
        kind, precision = (str(said[key].astype(str)) for key in ("layerType", "runtimePrecision"))
        nodes.append((kind, precision.lower()))
    return [node for node in nodes if node[0] in PRODUCTS]


def check_int8(compiled: Any, expected: int) -> None:
    """Raise RuntimeError unless at least `expected` products run in int8."""
    products = executed(compiled)
    found = sum(precision in ("i8", "u8") for _, precision in products)
    if found < expected:
        rest = sorted({f"{kind} in {precision}" for kind, precision in products if precision not in ("i8", "u8")})
        said = ", ".join(rest) or "none else"
        raise RuntimeError(f"the executed graph: expected {expected} products in int8, got {found}; {said}")
