"""Every kernel of the registry has a test on all variants and a benchmark; the check of that finds what lacks."""

import ast
import shutil
from pathlib import Path

import pytest
from op_helpers import ALL_ISAS, INT8_VARIANTS, VARIANTS, native

from squeezeops.benchmark.cases import OPS
from squeezeops.benchmark.variants import all_variants, has_kernel

pytestmark = pytest.mark.skipif(native is None, reason="built without the native extension")
TESTS = Path(__file__).parent


def find_tested_ops(folder):
    """Where each op is tested: test files by the names of the ops that their tests with the fixture `variant` call.

    They may call an op themselves or through what their file defines.
    """
    tested = {}
    for path in folder.glob("test_*.py"):
        defined, tests = {}, []
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                defined[node.name] = node
                if node.name.startswith("test_") and any(argument.arg == "variant" for argument in node.args.args):
                    tests.append(node.name)
            elif isinstance(node, ast.Assign):
                defined.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
        for name in tests:
            for op in called_ops(name, dict(defined)):
                tested.setdefault(op, set()).add(path.stem.removeprefix("test_"))
    return tested


def is_own_file(name, op):
    """test_<op>.py, or the file of a family: gelu is tested in test_activation.py, after its kernel."""
    if op.function:  # which several rows share
        return op.name == name
    return op.name.startswith(name) or op.kernel.startswith(name)


def called_ops(name, defined):
    names = set()
    for node in ast.walk(defined.pop(name)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ops":
            names.add(node.attr)
        elif isinstance(node, ast.Name) and node.id in defined:
            names |= called_ops(node.id, defined)
    return names


def what_lacks(rows, benchmarks, tested):
    """A line for each row of the registry without a test or a benchmark."""
    for row in rows:
        symbol = row["symbol"]
        ops = [op for op in benchmarks if (op.kernel, op.dtype) == (row["op"], row["dtype"])]
        if not ops:
            yield f"{symbol}: no benchmark, so no op to find a test of"
        for op in ops:
            if not op.shapes:
                yield f"{symbol}: no shapes for the benchmark of {op.name}"
            if not any(is_own_file(name, op) for name in tested.get(op.function or op.name, ())):
                yield f"{symbol}: no test of {op.name} with the fixture variant"


def test_every_kernel_has_a_test_and_a_benchmark():
    rows = native.kernel_table()
    assert rows
    assert list(what_lacks(rows, OPS, find_tested_ops(TESTS))) == []


def test_every_instruction_set_is_tested_and_measured():
    assert ALL_ISAS
    tested = [variant for variant in (*VARIANTS, *INT8_VARIANTS) if variant.backend == "native"]
    assert set(ALL_ISAS) == {variant.isa for variant in tested}
    measured = {variant for variant in all_variants() if variant.backend == "native"}
    assert {variant.isa for variant in measured} == set(ALL_ISAS)
    for variant in measured:
        rows = {(row["op"], row["dtype"]) for row in native.kernel_table() if row["isa"] == variant.isa}
        assert rows == {(op.kernel, op.dtype) for op in OPS if has_kernel(variant, op)} != set()


def test_the_check_finds_a_new_kernel():
    row = {"op": "pwconv", "dtype": "s4", "isa": "avx512", "tile": "", "symbol": "pwconv_s4_avx512"}
    found = list(what_lacks([*native.kernel_table(), row], OPS, find_tested_ops(TESTS)))
    assert found == ["pwconv_s4_avx512: no benchmark, so no op to find a test of"]


def test_the_check_finds_a_missing_benchmark():
    fewer = [op for op in OPS if op.name != "mean_pool"]
    found = list(what_lacks(native.kernel_table(), fewer, find_tested_ops(TESTS)))
    compiled = [row["symbol"] for row in native.kernel_table() if row["op"] == "mean_pool"]
    assert [line.partition(":")[0] for line in found] == compiled != []


def test_the_check_finds_a_missing_test(tmp_path):
    for path in TESTS.glob("test_*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "test_softmax.py").unlink()
    found = list(what_lacks(native.kernel_table(), OPS, find_tested_ops(tmp_path)))
    assert found and all("softmax_f32_" in line and "no test of softmax" in line for line in found)
    (tmp_path / "test_pointwise_conv_int8.py").unlink()
    found = list(what_lacks(native.kernel_table(), OPS, find_tested_ops(tmp_path)))
    assert [line for line in found if "pwconv_s8_" in line and "no test of pointwise_conv_int8" in line]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def test_a(variant):\n    ops.gelu(x)\n", {"gelu"}),
        ("def test_a(rng):\n    ops.gelu(x)\n", set()),
        ("def helper(x):\n    return ops.tanh(x)\ndef test_a(variant):\n    helper(1)\n", {"tanh"}),
        ("TABLE = [ops.softmax]\ndef other():\n    return TABLE\ndef test_a(variant):\n    other()\n", {"softmax"}),
        ("def helper(x):\n    return ops.tanh(helper(x))\ndef test_a(variant):\n    pass\n", set()),
        ("@pytest.mark.parametrize('op', [ops.gelu])\ndef test_a(op, variant):\n    op(1)\n", {"gelu"}),
    ],
)
def test_what_counts_as_tested(tmp_path, source, names):
    (tmp_path / "test_x.py").write_text(source)
    assert set(find_tested_ops(tmp_path)) == names
