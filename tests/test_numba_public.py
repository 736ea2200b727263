"""squeezeops.numba: the kernels of the backend "numba", called from a user's own compiled functions."""

import doctest
import re

import numpy as np
import pytest
from op_helpers import ISAS, assert_same_bits, normal, run_python
from test_numba import fused, needs_numba

from squeezeops import ops

F = np.float32


def test_without_numba():
    result = run_python("-c", "import sys; sys.modules['numba'] = None; import squeezeops.numba")
    expected = "ImportError: squeezeops.numba: expected Numba, got none (to get it: pip install 'squeezeops[numba]')"
    assert result.stderr.splitlines()[-1] == expected


@needs_numba
def test_examples():
    import squeezeops.numba as sn

    functions = [name for name in sn.__all__ if callable(getattr(sn, name))]
    found = {test.name.rpartition(".")[2] for test in doctest.DocTestFinder().find(sn) if test.examples}
    assert found == set(functions)
    assert doctest.testmod(sn).failed == 0


@needs_numba
def test_as_python():
    """Examples and bits without Numba's compiler."""
    code = """
import doctest
import numpy as np, test_numba_public, squeezeops.numba as sn
test_numba_public.test_bits_are_those_of_the_ops(np.random.default_rng(1))
print(doctest.testmod(sn).failed)
"""
    result = run_python("-c", code, NUMBA_DISABLE_JIT="1")
    assert result.stdout == "0\n", result.stdout + result.stderr


@needs_numba
def test_read_only_results_are_refused():
    """They may be mapped memory, where a write is the end of the process."""
    from numba.core.errors import TypingError

    import squeezeops.numba as sn

    x, out, values = np.ones((1, 4), F), np.zeros((1, 4), F), np.zeros((1, 4), np.uint8)
    out.flags.writeable = values.flags.writeable = False
    for call in (
        lambda: sn.gelu(x, out),
        lambda: sn.layer_norm(x, out),
        lambda: sn.attention(x[None], x[None], x[None], out[None], 1),
        lambda: sn.quantize_rows(x, values, np.zeros((1, 1), F)),
        lambda: sn.quantize_rows(x, values.copy(), out),
    ):
        with pytest.raises(TypingError, match="expected a result that is writeable"):
            call()
    assert not out.any() and not values.any()


@needs_numba
def test_bits_are_those_of_the_ops(rng):
    """In one function of the user's, with fastmath, on slices of rows; with optional arguments and without."""
    import numba

    import squeezeops.numba as sn

    x, residual, weight, bias = normal(rng, 2, 7, 24), normal(rng, 2, 7, 24), normal(rng, 24) + 1, normal(rng, 24)
    kept = rng.random((2, 7)) < 0.7
    kept[1] = False
    added, keep = np.where(kept, F(0), F(-np.inf)), kept.view(np.uint8)
    conv_weight, conv_bias = normal(rng, 20, 12), normal(rng, 20)
    conv_weight[0, 0] = 1e-39  # counts as 0
    packed = [sn.pack_weight(conv_weight, 2), sn.pack_weight(conv_weight, 2, "float16")]
    packed += sn.pack_weight(conv_weight, 2, "int8")
    ids, table = rng.integers(0, 9, 5), normal(rng, 9, 24).astype(np.float16)
    for array in (weight, *packed):
        array.flags.writeable = False

    @numba.njit(fastmath=True)
    def rows(x, residual, weight, bias):
        out = np.empty((9, *x.shape), np.float32)
        for first, last in ((0, 3), (3, len(x))):
            part, more = x[first:last], residual[first:last]
            sn.layer_norm(part, out[0][first:last], weight, bias, 1e-12, more)
            sn.layer_norm(part, out[1][first:last], eps=1e-6)
            sn.rms_norm(part, out[2][first:last], weight, residual=more)
            sn.l2_normalize(part, out[3][first:last])
            sn.softmax(part, out[4][first:last], scale=0.7)
            sn.softmax(part, out[5][first:last], more, uniform=False)
            sn.gelu(part, out[6][first:last])
            sn.gelu_tanh(part, out[7][first:last])
            sn.tanh(part, out[8][first:last])
        return out

    @numba.njit
    def others(x, mask, keep, packed, half, eight, eight_scales, bias, residual, ids, table):
        pooled, found = np.empty((2, 2, x.shape[2]), np.float32), np.empty((len(ids), table.shape[1]), np.float32)
        sn.mean_pool(x, pooled[0])
        sn.mean_pool(x, pooled[1], keep)
        sn.embedding(ids, table, found)
        attended = np.empty((3, *x.shape), np.float32)
        sn.attention(x, x, x, attended[0], 3)
        sn.attention(x, x, x, attended[1], 3, mask)
        sn.attention(x, x, x, attended[2], 3, mask=mask, uniform=False)
        flat = x.reshape(-1, x.shape[2])
        convolved = np.empty((4, len(flat), len(bias)), np.float32)
        sn.pointwise_conv(flat, packed, convolved[0], groups=2)
        sn.pointwise_conv(flat, packed, convolved[1], 2, bias, sn.GELU, residual)
        sn.pointwise_conv(flat, half, convolved[2], 2, bias)
        sn.pointwise_conv_int8(flat, eight, eight_scales, convolved[3], 2, bias, sn.TANH, residual)
        values, scales = np.empty(flat.shape, np.uint8), np.empty((len(flat), 2), np.float32)
        sn.quantize_rows(flat, values, scales)
        return pooled, found, attended, convolved, values, scales

    flat, more = x.reshape(-1, 24), residual.reshape(-1, 24)
    added_to = normal(rng, 14, 20)
    with np.errstate(all="ignore"):
        found = rows(flat, more, weight, bias)
        pooled, embedded, attended, convolved, values, scales = others(
            x, added, keep, *packed, conv_bias, added_to, ids, table.view(np.uint16)
        )
    backend = "native" if ISAS and fused() else "numba"  # which has the same bits, where both keep them
    with ops.backend(backend):
        conv = ops.PointwiseConv(conv_weight, conv_bias, groups=2)
        expected = [
            ops.layer_norm(flat, weight, bias, eps=1e-12, residual=more), ops.layer_norm(flat, eps=1e-6),
            ops.rms_norm(flat, weight, residual=more), ops.l2_normalize(flat), ops.softmax(flat, scale=0.7),
            ops.softmax(flat, mask=more, fully_masked="zero"), ops.gelu(flat), ops.gelu(flat, approximate="tanh"),
            ops.tanh(flat),
            ops.mean_pool(x), ops.mean_pool(x, mask=kept), ops.embedding(ids, table),
            *(ops.attention(x, x, x, num_heads=3, **mask) for mask in (
                {}, {"mask": kept[:, None, None]}, {"mask": kept[:, None, None], "fully_masked": "zero"})),
            ops.PointwiseConv(conv_weight, groups=2)(flat), conv(flat, activation="gelu", residual=added_to),
            ops.PointwiseConv(conv_weight, conv_bias, groups=2, dtype="float16")(flat),
            ops.PointwiseConv(conv_weight, conv_bias, groups=2, dtype="int8")(
                flat, activation="tanh", residual=added_to),
            *ops.quantize_rows(flat, groups=2),
        ]  # fmt: skip
    actual = [*found, *pooled, embedded, *attended, *convolved, values, scales]
    for number, (one, wanted) in enumerate(zip(actual, expected, strict=True)):
        assert_same_bits(one, wanted), number
    relu = flat.copy()
    sn.relu(relu, relu)
    assert_same_bits(relu, np.maximum(flat, 0))


@needs_numba
@pytest.mark.parametrize("masked", [False, True])
def test_int8_attention_has_the_bits_of_the_op(rng, masked):
    import numba

    import squeezeops.numba as sn

    heads, size = 3, 10  # 2 bytes fill up a head
    x = [normal(rng, 2, length, heads * size) for length in (5, 37, 37)]
    quantised = [ops.quantize_rows(a, groups=heads) for a in x]
    parts = [np.asarray(part) for rows in quantised for part in (rows.values, rows.scales)]
    value_scale, value_bias = normal(rng, heads * size), normal(rng, heads * size)
    keep = rng.random((2, 37)) < 0.6
    keep[1] = False

    @numba.njit(fastmath=True)
    def plain(q, qs, k, ks, v, vs, out):
        sn.attention_int8(q, qs, k, ks, v, vs, out, 3)

    @numba.njit
    def full(q, qs, k, ks, v, vs, out, mask, scale, bias, uniform):
        sn.attention_int8(q, qs, k, ks, v, vs, out, 3, mask, uniform, scale, bias)

    out = np.full((2, 5, heads * size), np.nan, F)
    for uniform in (False, True) if masked else (True,):
        more = {}
        if masked:
            full(*parts, out, keep.view(np.uint8), value_scale, value_bias, uniform)
            more = {"value_scale": value_scale, "value_bias": value_bias, "mask": keep[:, None, None]}
            more["fully_masked"] = "uniform" if uniform else "zero"
        else:
            plain(*parts, out)
        with ops.backend("native" if ISAS and fused() else "numba"):
            assert_same_bits(out, ops.attention(*quantised, num_heads=heads, out=np.empty_like(out), **more))


@needs_numba
def test_weights_of_another_dtype_are_refused():
    from numba.core.errors import TypingError

    import squeezeops.numba as sn

    x, out = np.ones((2, 4), F), np.empty((2, 4), F)
    weights = [sn.pack_weight(np.ones((4, 4), F), dtype=dtype) for dtype in ("float32", "float16")]
    eight, scales = sn.pack_weight(np.ones((4, 4), F), dtype="int8")
    for wrong in (eight, eight.view(np.uint8), np.ones(64)):
        with pytest.raises(TypingError, match="pointwise_conv: packed: expected a weight of dtype float32 or float16"):
            sn.pointwise_conv(x, wrong, out)
    for wrong in weights:
        with pytest.raises(TypingError, match="pointwise_conv_int8: packed: expected a weight of dtype int8"):
            sn.pointwise_conv_int8(x, wrong, scales, out)
    with pytest.raises(TypingError, match="pointwise_conv_int8: scales: expected float32"):
        sn.pointwise_conv_int8(x, eight, scales.astype(float), out)


WRONG = [
    ("gelu", "x, x[:2]", "out: expected as many elements as x"),
    ("layer_norm", "x, x[:2]", "out: expected the shape of x"),
    ("layer_norm", "x, x, residual=x[:2]", "residual: expected the shape of x"),
    ("layer_norm", "x, x, x[0, :3]", "weight: expected shape (C,), as of bias"),
    ("rms_norm", "x, x, weight=x[0, :3]", "weight: expected shape (C,)"),
    ("l2_normalize", "x, x[:2]", "out: expected the shape of x"),
    ("softmax", "x, x, x[:2]", "mask: expected the shape of x, or one row"),
    ("mean_pool", "x.reshape(1, 3, 4), x[:2]", "out: expected shape (B, C)"),
    ("embedding", "np.arange(2), x, x", "out: expected shape (rows, C)"),
    ("quantize_rows", "x, bytes3, x[:, :3].copy()", "scales: expected shape (rows, groups), groups a divisor of C"),
    ("quantize_rows", "x, bytes3, x[:, :2].copy()", "values: expected shape (rows, width)"),
    ("pointwise_conv", "x, x, x, 3", "groups: expected a divisor of C_in and C_out"),
    ("pointwise_conv", "x, x, x[:2]", "out: expected as many rows as x, as of residual"),
    ("pointwise_conv", "x, x, x, bias=x[0, :2]", "bias: expected shape (C_out,)"),
    ("pointwise_conv", "x, x, x", "packed: expected a weight of (C_out, C_in / groups), packed for these groups"),
    ("attention", "y, y, y, y, 3", "num_heads: expected a divisor of C"),
    ("attention", "y, y, y[:, :1].copy(), y, 2", "k: expected shape (B, Lk, C), as of v"),
    ("attention", "y, y, y, y, 2, x", "mask: expected shape (B, Lk)"),
    ("attention_int8", "bytes4, z, bytes4, z, bytes4, z, y, 3", "num_heads: expected a divisor of C"),
    ("attention_int8", "bytes4, z, bytes4, z, bytes4[:, :1], z, y, 1", "k: expected shape (B, Lk, width), as of v"),
    (
        "attention_int8",
        "bytes4, z, bytes4, z[:, :1], bytes4, z, y, 1",
        "k_scales: expected shape (B, Lk, heads), as of v_scales",
    ),
    ("attention_int8", "bytes4[..., :3], z, bytes4, z, bytes4, z, y, 1", "q: expected shape (B, Lq, width)"),
    ("attention_int8", "bytes4, z[:, :1], bytes4, z, bytes4, z, y, 1", "q_scales: expected shape (B, Lq, heads)"),
    ("attention_int8", "bytes4, z, bytes4, z, bytes4, z, y, 1, bytes3", "mask: expected shape (B, Lk)"),
    (
        "attention_int8",
        "bytes4, z, bytes4, z, bytes4, z, y, 1, value_bias=x[0, :2]",
        "value_scale: expected shape (C,), as of value_bias",
    ),
    (
        "pointwise_conv_int8",
        "x, *sn.pack_weight(x, 1, 'int8'), x[:2]",
        "out: expected as many rows as x, as of residual",
    ),
    (
        "pointwise_conv_int8",
        "x, sn.pack_weight(x, 1, 'int8')[0], x[0, :2], x[:, :3].copy()",
        "scales: expected shape (C_out,)",
    ),
    ("pack_weight", "x, 1, 'int4'", "dtype: expected one of 'float32', 'float16', 'int8', got 'int4'"),
    ("pack_weight", "x, 2", "groups: expected a divisor of C_out = 3, got 2"),
]


@needs_numba
def test_wrong_shapes_are_named():
    """As Python, where nothing is compiled; the checks are the same source."""
    code = f"""
import numpy as np, squeezeops.numba as sn
x, y, bytes3 = np.ones((3, 4), "f"), np.ones((1, 3, 4), "f"), np.ones((3, 3), np.uint8)
bytes4, z = np.ones((1, 3, 4), np.uint8), np.ones((1, 3, 1), "f")
for name, arguments, message in {WRONG!r}:
    try:
        eval(f"sn.{{name}}({{arguments}})")
    except ValueError as error:
        said, _, what = str(error).partition(": ")
        said = {{"PointwiseConv": "pack_weight"}}.get(said, said)
        assert what == message and name.startswith(said), (str(error), message)
    else:
        raise AssertionError((name, arguments))
print("done")
"""
    result = run_python("-c", code, NUMBA_DISABLE_JIT="1")
    assert result.stdout == "done\n", result.stderr


@needs_numba
def test_wrong_arguments_of_compiled_functions():
    import numba

    import squeezeops.numba as sn

    x = np.ones((3, 4), F)
    with pytest.raises(ValueError, match=re.escape("gelu: out: expected as many elements as x")):
        numba.njit(lambda x: sn.gelu(x, x[:2]))(x)
    with pytest.raises(numba.TypingError):
        sn.gelu(x.astype(float), x)
    with pytest.raises(numba.TypingError):
        sn.gelu(x[:, ::2], x[:, ::2])
