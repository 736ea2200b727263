"""Normalisations of rows far from zero, of huge values and of tiny ones, on every backend and ISA.

What is expected, and the bounds, are those of op_table.py.
"""

import numpy as np
import pytest
from golden_bits import TO_TOLERANCE
from op_helpers import EXACT_ISAS, Variant, assert_same_bits, normal
from op_table import OPS

from squeezeops import backends, ops

F = np.float32
LARGEST = np.finfo(F).max
NORMS = ("layer_norm", "rms_norm", "l2_normalize")
SIZES = (1, 2, 3, 5, 16, 17, 33, 100, 768, 1023, 1024, 1025, 2100, 4096)
EPS = (0.0, 1e-45, 1e-35, 1e-12, 1e-5, 3e38)


def as_rows(*rows):
    return np.array(rows, F)


def expect(guards, name, x, **rest):
    return OPS[name].check(guards, x=np.ascontiguousarray(x), **rest)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-5])
def test_named_rows(variant, guards, eps):
    for row in (
        [2**24, 2**24, 2**24 + 2, 2**24 + 4],
        [3e38, -3e38, 1e38, 0],
        [LARGEST, -LARGEST, LARGEST, -LARGEST],
        [1e19, 2e19, -1e19, 3e19],
        [1e-38, 2e-38, 3e-38, 7e-38],
        [2.0**-149, 0, 0, 0],
        [1e20, 1, 2, 3],
    ):
        for name in NORMS:
            expect(guards, name, as_rows(row), eps=eps)


def test_known_values(variant):
    """Each was once wrong by more than 0.9."""
    y = ops.layer_norm(as_rows([2**24, 2**24, 2**24 + 2, 2**24 + 4]), eps=0)
    np.testing.assert_allclose(y, [[-0.9045340, -0.9045340, 0.3015113, 1.5075567]], rtol=3e-6)
    y = ops.layer_norm(as_rows([3e38, -3e38, 1e38, 0]))
    np.testing.assert_allclose(y, [[1.2701706, -1.5011107, 0.3464102, -0.1154701]], rtol=3e-6)
    np.testing.assert_allclose(ops.layer_norm(as_rows([1e19, -1e19])), [[1, -1]], rtol=3e-6)
    np.testing.assert_allclose(ops.l2_normalize(as_rows([1e20, 0, -1e20])), [[0.5**0.5, 0, -(0.5**0.5)]], rtol=1e-6)
    np.testing.assert_allclose(ops.rms_norm(as_rows([1e30, -1e30])), [[1, -1]], rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-45, 1e-12, 1e-5, 1e30])
def test_constant_rows_give_the_bias(variant, rng, eps):
    """To the bit, also next to other rows."""
    values = [7.7, -7.7, 0.1, 1 / 3, 1e-38, 3e-45, 1e-20, 65504.1, 1e19, 3e38, -LARGEST, 2.0**-126, 0]
    for n in SIZES:
        weight, bias = normal(rng, n), normal(rng, n)
        x = np.repeat(as_rows(values).T, n, axis=1)
        for w, b in ((None, None), (weight, bias), (None, bias)):
            expected = np.broadcast_to(F(0) if b is None else b, x.shape)
            assert_same_bits(ops.layer_norm(x, w, b, eps=eps), np.ascontiguousarray(expected))
        x[::2] = normal(rng, *x[::2].shape)
        assert_same_bits(ops.layer_norm(x, None, bias, eps=eps)[1::2], np.repeat(bias[None], len(values) // 2, axis=0))


def test_constant_rows_with_eps_0_are_nan(variant):
    """0 / 0, whatever the rounding errors."""
    x = np.repeat(as_rows([7.7, 0.1, 3e38, 1e-40, 0]).T, 768, axis=1)
    assert np.isnan(ops.layer_norm(x, eps=0)).all()


def sweep(rng, n, rows=60):
    """Rows with every ratio of mean to deviation and every magnitude, of several distributions."""
    ratio = 2.0 ** rng.uniform(-4, 21, (rows, 1))
    magnitude = 10.0 ** rng.uniform(-38, np.log10(3e38), (rows, 1))
    magnitude[:4] = [[3.0e38], [1e38], [1e-38], [1e-38]]
    z = rng.standard_normal((rows, n))
    z[::4] = np.sign(z[::4]) * rng.uniform(0.9, 1)  # two values
    z[1::4] **= 3  # outliers
    z[2::8] = np.sort(z[2::8], axis=1)
    x = 1 + z / ratio
    return np.clip(x * magnitude * np.sign(rng.standard_normal((rows, 1))), -LARGEST, LARGEST).astype(F)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("n", SIZES)
def test_sweep(variant, guards, rng, n, name):
    for eps in EPS:
        x = sweep(rng, n)
        expect(guards, name, x, eps=eps)
        if name != "l2_normalize":
            residual = -x * rng.choice(as_rows([0, 0.5, 0.999, 1])[0], (len(x), 1))
            expect(guards, name, x, eps=eps, residual=residual.astype(F))


@pytest.mark.parametrize("scale", [1.0, 1e38, 1e30, 1e-30, 1e-38])
def test_stripes(variant, guards, rng, scale):
    """Constant terms in each of the 16 partial sums, whose rounding errors add up."""
    for period in (2, 4, 8, 16):
        pattern = rng.uniform(-1, 1, (40, period))
        pattern[::2] = np.sign(pattern[::2]) * rng.uniform(0.5, 1, (20, 1)) + 0.1
        x = np.tile(pattern * scale, 4096 // period).astype(F)
        expect(guards, "layer_norm", x, eps=0.0)
        expect(guards, "layer_norm", x[:, ::-1], eps=1e-12)


@pytest.mark.parametrize("offset, scale", [(0, 1e38), (1, 2.0**-20), (1e30, 1e12), (0, 1e-38), (-3e4, 0)])
def test_embeddings(variant, guards, rng, offset, scale):
    case = OPS["embedding_layer_norm"]
    for channels in (3, 96, 768):
        tables = ("table", "position_table", "type_table")
        arguments = case.arguments(rng, 7, (channels, "float32"))
        for name in tables:
            arguments[name] = (offset + normal(rng, *arguments[name].shape[:1], channels) * (scale / 8)).astype(F)
        for eps in (1e-12, 1e-45):
            case.check(guards, **arguments | {"eps": eps, "weight": None, "bias": None})


@pytest.mark.parametrize("name", NORMS)
def test_rows_that_are_not_finite(variant, rng, name):
    """NaN gives NaN in its row; so does an infinity in layer_norm. Other rows, huge or not, keep their bits."""
    op = getattr(ops, name)
    x = sweep(rng, 50, 24)
    before = op(x)
    x[1, 3], x[6, 49], x[11, 0], x[16, 17] = np.nan, np.nan, np.inf, -np.inf
    x[21, :2] = np.inf, -np.inf
    after = op(x)
    rows = [1, 6, 11, 16, 21]
    if name == "layer_norm":
        assert np.isnan(after[rows]).all()
    else:  # inf / inf; another element is divided by infinity
        assert np.isnan(after[rows[:2]]).all()
        np.testing.assert_array_equal(np.isnan(after[rows[2:]]), np.isinf(x[rows[2:]]))
        assert (after[rows[2:]][np.isfinite(x[rows[2:]])] == 0).all()
    others = np.setdiff1d(np.arange(24), rows)
    if ops.get_backend() == "numpy":
        np.testing.assert_allclose(after[others], before[others], rtol=1e-6)
    else:
        assert_same_bits(after[others], before[others])


def test_a_residual_sum_that_overflows(variant):
    x = as_rows([3e38, 1, 2], [1, 2, 3])
    y = ops.layer_norm(x, residual=x)
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all()


def exact_variants():
    others = [Variant(name) for name in ("cffi", "numba") if name in backends.available()]
    return [*(Variant("native", isa) for isa in EXACT_ISAS), *others]


@pytest.mark.skipif(not EXACT_ISAS or set(EXACT_ISAS) & TO_TOLERANCE, reason="no ISA promises bits")
@pytest.mark.parametrize("name", NORMS)
def test_bits(rng, name):
    """The same on every ISA and backend that promises them, in a batch and alone."""
    op = getattr(ops, name)
    for n in SIZES:
        x = sweep(rng, n, 31)
        x[::3] = normal(rng, *x[::3].shape)  # ordinary rows in the same tiles
        x[4::9] = F(7.7)
        for eps in (0.0, 1e-12):
            expected = None
            for variant in exact_variants():
                with variant.active():
                    y = op(x, eps=eps)
                    alone = np.concatenate([op(row[None], eps=eps) for row in x])
                expected = y if expected is None else expected
                assert_same_bits(y, expected)
                assert_same_bits(alone, expected)
