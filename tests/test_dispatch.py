"""The choice of kernels: CPU detection, forcing by environment variable and by call, and which kernel ran."""

import os

import numpy as np
import pytest
from kernel_tables import ISAS as ROWS
from kernel_tables import OPS, isas_on
from op_helpers import ALL_ISAS, ISAS, native, run_python

from squeezeops import ops

pytestmark = pytest.mark.skipif(native is None, reason="built without the native extension")

X = np.linspace(-3, 3, 40, dtype=np.float32).reshape(2, 20)
RUN = "import numpy as np, squeezeops as s; s.tanh(np.ones(3, np.float32)); print(s._native.last_kernel())"


def cpu_flags():
    """The CPU features that the Linux kernel lists; only tests may read that file."""
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
    brings = {  # in addition to those of the implied instruction set
        "scalar": set(),
        "sse2": {"sse2"},
        "avx2": {"avx2", "fma", "f16c"},
        "avxvnni": {"avx_vnni"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
        "avx512vl_vnni": {"avx512_vnni"},
        "avx512vnni": {"avx512_vnni"},
        "amx_int8": {"amx_tile", "amx_int8"},
    }
    info, tags = ops.cpu_info(), {isa.tag for isa in isas_on("x86_64")}
    assert tags == brings.keys(), "`brings` has what each row of isas.def adds, as /proc/cpuinfo spells it"
    assert tags == {*info["compiled"], *info["missing"]}, "isas.def has changed since the extension was built"
    compiled = [isa for isa in isas_on("x86_64") if isa.tag in info["compiled"]]
    assert ALL_ISAS == [isa.tag for isa in compiled if set().union(*(brings[i.tag] for i in isa.chain())) <= flags]


def test_cpu_info():
    info = ops.cpu_info()
    assert info["isas"] == ALL_ISAS
    assert info["isa"] == (os.environ.get("SQUEEZEOPS_ISA") or ALL_ISAS[0])
    assert set(info["isas"]) <= set(info["compiled"])
    assert not set(info["isas"]) & set(info["missing"])
    with ops.backend("numpy"):
        assert ops.cpu_info()["isas"] == ALL_ISAS
    assert set(info["kernels"]) == {op.op if op.dtype == "f32" else op.name for op in OPS.values()}
    for op, symbol in info["kernels"].items():
        row = OPS.get(op) or OPS[f"{op}_f32"]
        own = [isa.tag for isa in ROWS[info["isa"]].chain() if isa.has(row) and isa.tag in ALL_ISAS]
        assert symbol == f"{row.name}_{own[0]}"


def test_the_table_has_every_op_on_every_isa_with_its_trait():
    rows = native.kernel_table()
    compiled = [isa for isa in ROWS.values() if isa.tag in ops.cpu_info()["compiled"]]
    kernels = [(f"{row['op']}_{row['dtype']}", row["isa"]) for row in rows]
    assert kernels == [(op.name, isa.tag) for isa in compiled for op in OPS.values() if isa.has(op)]
    assert [row["symbol"] for row in rows] == ["_".join(kernel) for kernel in kernels]
    assert all(row["tile"] for row in rows)


def test_which_kernels_each_isa_runs():
    """Written out here: the tests below follow isas.def, so a wrong `implies` there would mislead them as well."""
    expected = {  # where everything was compiled: of the float kernels, of the byte kernels with no source of its own
        "scalar": ("scalar", "scalar"),
        "sse2": ("sse2", "scalar"),
        "avx2": ("avx2", "avx2"),
        "avxvnni": ("avx2", "avxvnni"),
        "avx512": ("avx512", "avx2"),
        "avx512vl_vnni": ("avx512", "avx512vl_vnni"),
        "avx512vnni": ("avx512", "avx512vnni"),
        "amx_int8": ("avx512", "avx512vnni"),
        "neon": ("neon", "neon"),
        "neon_vfpv4": ("neon_vfpv4", "neon_vfpv4"),
        "neon_dotprod": ("neon", "neon_dotprod"),
        "neon_i8mm": ("neon", "neon_i8mm"),
        "wasm_simd128": ("wasm_simd128", "wasm_simd128"),
        "wasm_relaxed": ("wasm_relaxed", "wasm_relaxed"),
    }

    def first(isa, trait):
        return next(row.tag for row in isa.chain() if getattr(row, trait))

    assert {tag: (first(isa, "floats"), first(isa, "bytes")) for tag, isa in ROWS.items()} == expected
    own = {
        (isa.tag, op.name) for isa in ROWS.values() for op in OPS.values() if not getattr(isa, op.trait) and isa.has(op)
    }
    assert own == {("amx_int8", "pwconv_s8"), ("amx_int8", "attention_s8")}


@pytest.mark.parametrize("isa", ALL_ISAS)
def test_the_best_kernel_that_an_isa_implies_runs(isa):
    def best(kernel):
        own = {row["isa"] for row in native.kernel_table() if f"{row['op']}_{row['dtype']}" == kernel}
        return f"{kernel}_{next(row.tag for row in ROWS[isa].chain() if row.tag in own)}"

    native.force_isa(isa)
    try:
        with ops.backend("native"):
            conv = ops.PointwiseConv(X, dtype="int8")
            for call, symbol in [
                (lambda: ops.tanh(X), best("activation_f32")),
                (lambda: ops.PointwiseConv(X, dtype="float16")(X), best("pwconv_f16")),
                (lambda: conv(X), best("pwconv_s8")),
                (lambda: ops.quantize_rows(X), best("quantize_rows_s8")),
            ]:
                call()
                assert native.last_kernel() == symbol
                assert symbol in ops.cpu_info()["kernels"].values()
            assert ops.cpu_info()["isa"] == isa
    finally:
        native.force_isa(None)


@pytest.mark.parametrize("isa", ISAS)
def test_forcing_by_environment(isa):
    result = run_python("-c", "import squeezeops._native; " + RUN, SQUEEZEOPS_ISA=isa, SQUEEZEOPS_BACKEND="native")
    assert result.stdout.strip() == f"activation_f32_{isa}", result.stderr


def test_an_unknown_isa_is_an_error():
    result = run_python("-c", RUN, SQUEEZEOPS_ISA="avx1024", SQUEEZEOPS_BACKEND="native")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: tanh: SQUEEZEOPS_ISA: expected an ISA that runs here (")
    assert last.endswith("got 'avx1024'")
    with pytest.raises(ValueError, match="isa: expected an ISA that runs here .*got 'AVX2'"):
        native.force_isa("AVX2")


def test_an_isa_that_cannot_run_is_an_error():
    here = {*ops.cpu_info()["compiled"], *ops.cpu_info()["missing"]}
    foreign = next(isa for isa in ROWS if isa not in here)
    with pytest.raises(ValueError, match=f"got '{foreign}', which is another architecture's"):
        native.force_isa(foreign)
    with ops.backend("native"):
        ops.tanh(X)
    assert native.last_kernel() == ops.cpu_info()["kernels"]["activation"]  # the choice that was in force still is
    for isa, reason in ops.cpu_info()["missing"].items():
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
