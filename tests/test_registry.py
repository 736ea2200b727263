"""Every kernel of the registry runs here, against the NumPy backend, and is measured: what lacks either is found."""

import numpy as np
import pytest
from build_helpers import ROOT
from kernel_tables import read_table
from op_helpers import ALL_ISAS, INT8_VARIANTS, VARIANTS, native

from squeezeops import ops
from squeezeops.benchmark.cases import OPS
from squeezeops.benchmark.variants import Variant, all_variants, has_kernel

pytestmark = pytest.mark.skipif(native is None, reason="built without the native extension")
TABLE = native.kernel_table() if native else []
RUNNABLE = [row for row in TABLE if row["isa"] in ALL_ISAS]
# Small odd sizes for the inputs that the benchmarks make.
SIZES = {
    "batch": 2, "tokens": 7, "rows": 7, "columns": 37, "channels": 36, "heads": 2, "c_in": 12, "c_out": 38, "groups": 2,
    "vocabulary": 11, "positions": 9,
}  # fmt: skip
# Ops that share the file of tests of another op.
TESTED_IN = {"embedding_layer_norm": "embedding"}


def benchmarks_of(row):
    return [op for op in OPS if (op.kernel, op.dtype) == (row["op"], row["dtype"])]


def result(op):
    """What an op gives on the backend in force, at a small shape."""
    shape = {name: SIZES[name] for name in op.parameters if name in SIZES}
    return np.array(op.make(**op.check(shape)).call())


@pytest.mark.parametrize("row", RUNNABLE, ids=lambda row: row["symbol"])
def test_kernel(row):
    """It runs when its instruction set is forced, and computes what the NumPy backend does."""
    benchmarks = benchmarks_of(row)
    assert benchmarks, f"{row['symbol']}: no benchmark, so no inputs"
    for op in benchmarks:
        variant = Variant("native", row["isa"])
        with variant.active():
            actual = result(op)
            assert variant.kernel() == native.last_kernel() == row["symbol"]
        with ops.backend("numpy"):
            expected = result(op)
        assert actual.size and np.isfinite(actual).all()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_every_kernel_is_measured_and_has_a_file_of_tests():
    assert TABLE
    files = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    for row in TABLE:
        assert benchmarks_of(row), f"{row['symbol']}: no benchmark"
        for op in benchmarks_of(row):
            assert op.shapes, f"no shapes for the benchmark of {op.name}"
            # The file has the name of the op or of its kernel: gelu is tested in test_activation.py.
            assert {op.name, op.kernel, TESTED_IN.get(op.name)} & files, op.name


def test_every_instruction_set_is_tested_and_measured():
    assert ALL_ISAS
    tested = [variant for variant in (*VARIANTS, *INT8_VARIANTS) if variant.backend == "native"]
    assert set(ALL_ISAS) == {variant.isa for variant in tested} == {row["isa"] for row in RUNNABLE}
    measured = {variant for variant in all_variants() if variant.backend == "native"}
    assert {variant.isa for variant in measured} == set(ALL_ISAS)
    for variant in measured:
        rows = {(row["op"], row["dtype"]) for row in TABLE if row["isa"] == variant.isa}
        assert rows == {(op.kernel, op.dtype) for op in OPS if has_kernel(variant, op)} != set()


def test_every_benchmark_is_of_a_kernel():
    assert {(op.kernel, op.dtype) for op in OPS} == {(row["op"], row["dtype"]) for row in TABLE}


def test_the_tables_are_read_as_the_preprocessor_reads_them():
    text = """
    // SQZ_ROW(a row, in a comment)
    SQZ_ROW(one,  none)  // with (parentheses), and (one
    SQZ_ROW(two,
            three)
    #undef SQZ_ROW
    """
    assert read_table(text, "SQZ_ROW", 2) == [["one", None], ["two", "three"]]
    with pytest.raises(ValueError, match="SQZ_ROW: expected 3 words in a row, got: one none"):
        read_table(text, "SQZ_ROW", 3)
