"""Every op at the model's shapes on every variant, for pytest-benchmark; see docs/benchmarks.md."""

import pytest

from squeezeops.benchmark.cases import OPS, describe
from squeezeops.benchmark.variants import all_variants, has_kernel


def name(op, shape, variant):
    """Name a benchmark so that -k can select by each part: -k "gelu and tokens:16 and avx2"."""
    return "-".join([op.name, *(f"{size}:{value}" for size, value in shape.items()), str(variant), op.dtype])


CASES = [
    pytest.param(op, op.check(shape), variant, id=name(op, shape, variant))
    for op in OPS
    for shape in op.shapes
    for variant in all_variants()
    if has_kernel(variant, op)
]


@pytest.mark.parametrize(("op", "shape", "variant"), CASES)
def test_op(benchmark, op, shape, variant):
    benchmark.group = f"{op.name} {describe(shape)}"
    with variant.active():
        case = op.make(**shape)
        benchmark(case.call)
        benchmark.extra_info.update(kernel=variant.kernel(), dtype=op.dtype, flops=case.flops, bytes=case.bytes)
    if benchmark.stats:  # None with --benchmark-disable
        work = case.bytes if op.unit == "GB/s" else case.flops
        benchmark.extra_info[op.unit] = work / benchmark.stats.stats.median / 1e9
