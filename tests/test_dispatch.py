"""The choice of the kernels: what this machine has, forcing by environment and by call, what really ran."""

import os
import subprocess
import sys

import numpy as np
import pytest
from op_helpers import ISAS, native

from squeezeops import ops

pytestmark = pytest.mark.skipif(native is None, reason="built without the native extension")

X = np.linspace(-3, 3, 40, dtype=np.float32).reshape(2, 20)
RUN = "import numpy as np, squeezeops as s; s.tanh(np.ones(3, np.float32)); print(s._native.last_kernel())"


def python(code, **environment):
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def cpu_flags():
    """The kernel's own list of CPU features; only a test may look there."""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return set(line.split(":")[1].split())
    return set()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the flags' names are those of x86")
@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="the system has no /proc/cpuinfo to compare with")
def test_features_agree_with_the_kernels_list():
    flags = cpu_flags()
    assert flags
    needs = {
        "sse2": {"sse2"},
        "avx2": {"avx2", "fma", "f16c"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    }
    compiled = native.cpu_info()["compiled"]
    expected = [isa for isa in ("avx512", "avx2", "sse2") if isa in compiled and needs[isa] <= flags]
    assert ISAS == [*expected, "scalar"]


def test_cpu_info():
    info = ops.cpu_info()
    assert info["isa"] == info["isas"][0] == ISAS[0]
    assert set(info["isas"]) <= set(info["compiled"])
    assert not set(info["isas"]) & set(info["missing"])
    assert set(info["kernels"]) == {
        "layer_norm", "l2_normalize", "softmax", "activation", "mean_pool", "embedding", "embedding_layer_norm",
        "pwconv", "attention",
    }  # fmt: skip
    for symbol in info["kernels"].values():
        assert symbol.endswith("_" + info["isa"])


def test_the_table_has_every_op_on_every_isa():
    table = native.kernel_table()
    ops_of = {isa: {row["op"] for row in table if row["isa"] == isa} for isa in native.cpu_info()["compiled"]}
    assert len({frozenset(names) for names in ops_of.values()}) == 1
    assert len({row["symbol"] for row in table}) == len(table)
    assert all(row["symbol"] == f"{row['op']}_{row['dtype']}_{row['isa']}" for row in table)


@pytest.mark.parametrize("isa", ISAS)
def test_forcing_by_call(isa):
    native.force_isa(isa)
    try:
        with ops.backend("native"):
            ops.tanh(X)
            assert native.last_kernel() == f"activation_f32_{isa}"
            ops.layer_norm(X)
            assert native.last_kernel() == f"layer_norm_f32_{isa}"
            ops.l2_normalize(X)
            assert native.last_kernel() == f"l2_normalize_f32_{isa}"
            ops.mean_pool(X)
            assert native.last_kernel() == f"mean_pool_f32_{isa}"
            ops.softmax(X)
            assert native.last_kernel() == f"softmax_f32_{isa}"
            ops.pointwise_conv(X, X)
            assert native.last_kernel() == f"pwconv_f32_{isa}"
            ops.attention(X[None], X[None], X[None], num_heads=2)
            assert native.last_kernel() == f"attention_f32_{isa}"
            ops.embedding(np.array([1]), X)
            assert native.last_kernel() == f"embedding_f32_{isa}"
            ids = np.array([1, 0])
            ops.embedding_layer_norm(ids, X, ids, X, ids, X, None, None)
            assert native.last_kernel() == f"embedding_layer_norm_f32_{isa}"
    finally:
        native.force_isa(None)


@pytest.mark.parametrize("isa", ISAS)
def test_forcing_by_environment(isa):
    result = python("import squeezeops._native; " + RUN, SQUEEZEOPS_ISA=isa, SQUEEZEOPS_BACKEND="native")
    assert result.stdout.strip() == f"activation_f32_{isa}", result.stderr


def test_an_unknown_isa_is_an_error():
    result = python(RUN, SQUEEZEOPS_ISA="avx1024", SQUEEZEOPS_BACKEND="native")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: tanh: SQUEEZEOPS_ISA: expected an ISA that runs here (")
    assert last.endswith("got 'avx1024'")
    with pytest.raises(ValueError, match="isa: expected an ISA that runs here .*got 'AVX2'"):
        native.force_isa("AVX2")


def test_an_isa_that_cannot_run_is_an_error():
    foreign = "sse2" if os.uname().machine == "aarch64" else "neon"
    with pytest.raises(ValueError, match=f"got '{foreign}', which is another architecture's"):
        native.force_isa(foreign)
    with ops.backend("native"):
        ops.tanh(X)
    assert native.last_kernel().endswith("_" + native.cpu_info()["isa"])  # the choice that was in force still is
    for isa, reason in native.cpu_info()["missing"].items():
        assert reason
        with pytest.raises(ValueError, match=f"got '{isa}', which is "):
            native.force_isa(isa)


def test_last_kernel_is_the_threads_own():
    import threading

    seen = []
    ops.tanh(X)

    def other():
        seen.append(native.last_kernel())
        with ops.backend("native"):
            ops.layer_norm(X)
        seen.append(native.last_kernel())

    with ops.backend("native"):
        ops.tanh(X)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen[0] == "" and seen[1].startswith("layer_norm_f32_")
    assert native.last_kernel().startswith("activation_f32_")
