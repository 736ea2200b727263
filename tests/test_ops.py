"""What all ops promise, on every backend and ISA: results within a bound, to the last channel and in any order of rows.

The ops and their references are in op_table.py. Arrays lie between guard bands; see `Guards`.
"""

import itertools
import re
from contextlib import contextmanager

import numpy as np
import pytest
from kernel_tables import CSRC
from op_helpers import ISAS, Variant, assert_repeats, assert_same_bits, call_c, native, normal, parts
from op_table import TABLE

from squeezeops import ops

HEADER = CSRC / "include" / "squeezeops" / "squeezeops.h"


def every_op(table=TABLE, compiled=False):
    """Run a test for each op on each of its variants, of the compiled backends alone or of all."""
    pairs = [(op, variant) for op in table for variant in op.variants()]
    pairs = [(op, variant) for op, variant in pairs if not compiled or variant.backend != "numpy"]
    ids = [f"{op.name}-{variant}" for op, variant in pairs]
    return pytest.mark.parametrize("op, variant", pairs, ids=ids, indirect=["variant"])


@contextmanager
def saying(what):
    """Put the case into the message of a failed assertion."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


@every_op()
def test_sizes(variant, guards, rng, op):
    for size in op.sizes:
        for rows in op.rows:
            for changes in op.at_all_sizes:
                with saying(f"{rows} rows, {size}, {changes}"):
                    op.check(guards, **op.arguments(rng, rows, size, **changes))
    assert variant.isa is None or native.last_kernel() == f"{op.kernel}_{variant.isa}"


@every_op()
def test_options(variant, guards, rng, op):
    for arguments in op.calls(rng):
        with saying({name: a for name, a in arguments.items() if not isinstance(a, np.ndarray)}):
            op.check(guards, **arguments)


def some_rows(op, arguments, rows):
    return {name: a[rows] if name in op.by_row and a is not None else a for name, a in arguments.items()}


def assert_rows(op, arguments, whole, rows):
    """The same rows alone have the same bits, whatever is around them."""
    alone = op.call(**some_rows(op, arguments, rows))
    for part, wanted in zip(parts(alone), parts(whole), strict=True):
        assert_repeats(part, np.ascontiguousarray(wanted[rows]))


@every_op()
def test_rows_do_not_depend_on_the_batch(variant, rng, op):
    for arguments in op.calls(rng, 29):
        whole = op.call(**arguments)
        for begin, end in [(0, 1), (3, 4), (28, 29), (0, 5), (1, 7), (2, 9), (4, 12), (5, 14), (7, 28)]:
            assert_rows(op, arguments, whole, slice(begin, end))
        assert_rows(op, arguments, whole, slice(None, None, -1))


@pytest.mark.filterwarnings("error")
@every_op()
def test_special_values_stay_in_their_row(variant, guards, rng, op):
    """They give what float64 gives. The other rows keep their bits. NumPy does not warn."""
    for arguments in op.calls(rng, 11):
        whole = op.call(**arguments)
        for name in op.by_row:
            array = arguments[name]
            if array is None or array.dtype != np.float32 or name == "mask":
                continue
            spoilt = array.copy()
            flat = spoilt.reshape(11, -1)
            for row, value in ((1, np.nan), (3, np.inf), (5, -np.inf)):
                flat[row, rng.integers(flat.shape[1])] = value
            flat[7, :9] = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0, -0.0, 1]
            with np.errstate(all="raise"):
                result = op.call(**arguments | {name: spoilt})
            for part, before in zip(parts(result), parts(whole), strict=True):
                assert_repeats(np.ascontiguousarray(part[::2]), np.ascontiguousarray(before[::2]))
            op.check(guards, **some_rows(op, arguments | {name: spoilt}, slice(0, 7)))


@pytest.fixture
def threads(variant, monkeypatch):
    """A function that sets the number of threads, which are used for small arrays too."""
    if variant.backend == "numba":
        from squeezeops.backends import numba

        monkeypatch.setattr(numba, "ELEMENTS", 500)
        monkeypatch.setattr(numba, "PRODUCTS", 5000)
    before = ops.get_num_threads()
    yield ops.set_num_threads
    ops.set_num_threads(before)


@every_op(compiled=True)
def test_results_do_not_depend_on_the_threads(variant, threads, guards, rng, op):
    many = 1301 if op.leading else 40  # enough rows, or sequences, for one task per thread
    for rows, size in [(many, op.typical), *op.large]:
        for changes in op.at_all_sizes:
            arguments = op.arguments(rng, rows, size, **changes)
            threads(1)
            expected = parts(op.call(**arguments))
            for n in (2, 3, 4):
                threads(n)
                for _ in range(3):
                    for part, wanted in zip(parts(op.call(**arguments)), expected, strict=True):
                        assert_same_bits(part, wanted)
            op.check(guards, **arguments)


@every_op([op for op in TABLE if op.leading])
def test_leading_axes(variant, rng, op):
    for shape in ((), (1,), (2, 3), (2, 1, 3), (2, 0), (0,)):
        flat = op.arguments(rng, int(np.prod(shape)))
        shaped = {name: a.reshape(shape + a.shape[1:]) if name in op.by_row else a for name, a in flat.items()}
        for part, wanted in zip(parts(op.call(**shaped)), parts(op.call(**flat)), strict=True):
            assert_repeats(part, wanted.reshape(shape + wanted.shape[1:]))


@every_op()
def test_layouts(variant, rng, op):
    """The results of a contiguous copy. The views are read-only too."""
    views = {
        "rows apart": lambda a: np.repeat(a, 2, axis=0)[::2],
        "gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        "reversed": lambda a: np.flip(np.flip(a).copy()),
        "Fortran order": np.asfortranarray,
        "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    }
    arguments = op.arguments(rng, 6)
    arrays = {name: a for name, a in arguments.items() if isinstance(a, np.ndarray)}
    for (what, view), (name, a) in itertools.product(views.items(), arrays.items()):
        seen = view(a)
        seen.flags.writeable = False
        results = [op.call(**arguments | {name: array}) for array in (seen, np.array(seen, order="C"))]
        for part, wanted in zip(*map(parts, results), strict=True):
            with saying(f"{name}, {what}"):
                assert_repeats(part, wanted)


# The pointer functions of the normalisations, and the names of their parameters.
DECLARATIONS = re.findall(r"^SQZ_API sqz_status sqz_(\w+)_f32\(([^)]*)\);", HEADER.read_text(encoding="utf-8"), re.M)
ROWS_IN_C = {name: re.findall(r"(\w+)(?:,|$)", text) for name, text in DECLARATIONS}
ROWS_IN_C = {name: names for name, names in ROWS_IN_C.items() if {"x", "eps"} <= set(names)}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ROWS_IN_C)
def test_row_strides_in_c(rng, isa, name):
    """The gaps between rows are neither read nor written."""
    wide = {"x": np.full((7, 40), np.nan, np.float32), "residual": np.full((7, 35), np.nan, np.float32)}
    for array in wide.values():
        array[:, :33] = normal(rng, 7, 33)
    given = {"rows": 7, "n": 33, "ldx": 40, "ldr": 35, "ldo": 37, "eps": 0.1} | wide
    given |= {"weight": normal(rng, 33), "bias": normal(rng, 33), "out": np.full((7, 37), 7, np.float32)}
    arguments = {parameter: given[parameter] for parameter in ROWS_IN_C[name]}
    with Variant("native", isa).active():
        assert call_c(f"sqz_{name}_f32", *arguments.values()) == (0, "")
        arrays = {key: arguments[key][..., :33].copy() for key in arguments.keys() & {*wide, "weight", "bias"}}
        assert_same_bits(given["out"][:, :33].copy(), getattr(ops, name)(**arrays, eps=0.1))
    assert (given["out"][:, 33:] == 7).all()


@pytest.mark.skipif(native is None, reason="built without the native extension")
@pytest.mark.parametrize("name", ROWS_IN_C)
def test_messages_in_c(name):
    """They name the argument, as test_c_library.py does not check it, and `out` is left as it was."""
    x, out = np.zeros((6, 8), np.float32), np.full((6, 8), 7, np.float32)
    good = {"rows": 6, "n": 8, "x": x, "ldx": 8, "residual": x, "ldr": 8, "weight": None, "bias": None, "eps": 1e-6}
    good = {parameter: (good | {"out": out, "ldo": 8})[parameter] for parameter in ROWS_IN_C[name]}
    wrong = {"rows": -1, "n": -1, "x": None, "ldx": 7, "ldr": 7, "eps": np.nan, "out": None, "ldo": 7}
    named = {"rows": "x", "n": "x", "ldx": "x", "ldr": "residual", "ldo": "out"}
    for parameter in wrong.keys() & good.keys():
        status, message = call_c(f"sqz_{name}_f32", *(good | {parameter: wrong[parameter]}).values())
        assert status == 1 and message.startswith(f"{named.get(parameter, parameter)}: expected "), message
        assert (out == 7).all()
    assert call_c(f"sqz_{name}_f32", *good.values()) == (0, "")
