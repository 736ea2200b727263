"""Every kernel of the registry is in the table of tests and is measured: what lacks either is found."""

from inspect import signature

import pytest
from kernel_tables import read_table
from op_helpers import ALL_ISAS, INT8_VARIANTS, VARIANTS, native
from op_table import TABLE as TESTED

from squeezeops import ops
from squeezeops.benchmark.cases import OPS
from squeezeops.benchmark.variants import all_variants, has_kernel

pytestmark = pytest.mark.skipif(native is None, reason="built without the native extension")
TABLE = native.kernel_table() if native else []
RUNNABLE = [row for row in TABLE if row["isa"] in ALL_ISAS]


def benchmarks_of(row):
    return [op for op in OPS if (op.kernel, op.dtype) == (row["op"], row["dtype"])]


def test_every_kernel_is_tested_and_measured():
    assert TABLE
    assert {op.kernel for op in TESTED} == {f"{row['op']}_{row['dtype']}" for row in TABLE}, "op_table.py"
    for row in TABLE:
        assert benchmarks_of(row), f"{row['symbol']}: no benchmark"
        for op in benchmarks_of(row):
            assert op.shapes, f"no shapes for the benchmark of {op.name}"


def test_every_op_is_tested():
    takes_arrays = {name for name in ops.__all__ if "out" in signature(getattr(ops, name)).parameters}
    assert takes_arrays - {op.name for op in TESTED} == {"pointwise_convs"}


@pytest.mark.parametrize("op", TESTED, ids=lambda op: op.name)
def test_the_text_of_out_says_whether_it_may_be_x(op):
    text = getattr(ops, op.name, ops.PointwiseConv).__doc__
    assert ("may be x" in text) == op.in_place


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
