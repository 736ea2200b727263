"""``squeezeops bench``, and pytest-benchmark over the same table. No test looks at times."""

import csv
import io
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli_helpers import COMMAND, caller, check_error, environment, run
from limits import seconds
from model_helpers import write_model
from op_helpers import ALL_ISAS, INT8_ISAS, ISAS, native
from test_squeezebert import GOLDEN

import squeezeops
from squeezeops import ops
from squeezeops.benchmark import cases, counters, measure, variants
from squeezeops.benchmark.cases import OPS, describe, op_of
from squeezeops.benchmark.variants import all_variants, has_kernel

SMALL = "tokens=5,channels=8"
QUICK = ("--seconds", "0.0001", "--threads", "1")


def variants_of(name):
    """Return the variants that have a kernel for an op."""
    return [variant for variant in all_variants() if has_kernel(variant, op_of(name))]


@pytest.fixture
def call(capsys, monkeypatch):
    """Run a command in this process, with short measurements of the peaks on little memory.

    Each sample counts, whatever else the machine does meanwhile.
    """
    monkeypatch.setattr(measure, "READ_FLOATS", 2**20)
    monkeypatch.setattr(measure, "TRIES", 1)
    monkeypatch.setattr(measure, "SAMPLE_SECONDS", 1e-6)
    monkeypatch.setattr(measure, "TOLERANCE", math.inf)
    return caller(capsys, monkeypatch)


def succeed(result):
    status, out, err = result
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize(("name", "shape", "kernel"), [
    ("layer_norm", SMALL, "layer_norm_f32"), ("quantize_rows", f"{SMALL},groups=1", "quantize_rows_s8"),
])  # fmt: skip
def test_table(call, name, shape, kernel):
    lines = succeed(call("bench", name, "--shape", shape, *QUICK)).splitlines()
    assert f"squeezeops {squeezeops.__version__}, " in lines[1]
    for words in ("peak before", "peak after", "instructions and cycles: "):
        assert sum(line.startswith(words) for line in lines) == 1
    counted = ["instructions", "cycles"] if "instructions and cycles: counted with 1 thread" in lines else []
    start = lines.index(f"{name} {shape} (1 thread)")
    rows = lines[start + 2 : start + 2 + len(variants_of(name))]
    assert lines[start + 2 + len(rows)] == ""
    assert lines[start + 1].split() == [
        "backend", "isa", "dtype", "time", "p25", "median", "p75", "of", "peak", "peak", "accepted", *counted, "kernel",
    ]  # fmt: skip
    for row, variant in zip(rows, variants_of(name), strict=True):
        assert row.split()[:3] == [variant.backend, variant.isa or "-", kernel.split("_")[-1]]
        assert row.split()[-1] == (f"{kernel}_{variant.isa}" if variant.isa else variant.backend)
        assert re.search(r" \d+ of \d+ ", row) and " GB/s " in row
        # The columns are aligned: the last one begins where its title does.
        assert row.rindex(row.split()[-1]) == lines[start + 1].index("kernel")


@pytest.mark.parametrize(("name", "dtype", "unit", "size"), [
    ("pointwise_conv", "f32", "GFLOP/s", 4 * 48), ("pointwise_conv_int8", "s8", "GOP/s", 48),
])  # fmt: skip
def test_json(call, name, dtype, unit, size):
    threads = native and native.get_num_threads()
    out = succeed(call("bench", name, "--shape", "tokens=5,c_in=8,c_out=12,groups=2", "--json", *QUICK))
    report, facts = json.loads(out), {"squeezeops": squeezeops.__version__, "numpy": np.__version__}
    assert facts.items() <= report["machine"].items() and report["machine"]["processor"]
    assert report["machine"]["cpus"] >= 1 and (native and native.get_num_threads()) == threads
    for when in ("before", "after"):
        (peaks,) = report["peaks"][when]
        assert peaks["threads"] == 1 and list(peaks["fma"]) == ISAS and list(peaks["int8"]) == INT8_ISAS
        assert native is None or min(*peaks["fma"].values(), *peaks["int8"].values(), peaks["read"]) > 0
    shape = {"tokens": 5, "c_in": 8, "c_out": 12, "groups": 2, "activation": "none", "residual": 0}
    shape |= {"quantized": 0} if unit == "GOP/s" else {}
    for row, variant in zip(report["results"], variants_of(name), strict=True):
        kernel = f"pwconv_{dtype}_{variant.isa}" if variant.isa else variant.backend
        expected = {
            "backend": variant.backend, "isa": variant.isa, "kernel": kernel, "op": name, "dtype": dtype, "threads": 1,
            "cold": False, "shape": shape, "unit": unit, "flops": 2 * 5 * 12 * 4, "bytes": size + 4 * (12 + 5 * 20),
        }  # fmt: skip
        assert expected.items() <= row.items()
        figures = row["figures"]
        assert figures["samples"] == len(row["raw"]) >= max(1, figures["accepted"])
        assert ("cycles" in row) == report["machine"]["counters"].startswith("counted")
        for figure in ("rate", "microseconds", *(("share",) if native else ())):
            assert (figures[figure] is None) == (figures["accepted"] == 0)
        if figures["accepted"]:
            assert 0 < figures["rate"]["p25"] <= figures["rate"]["median"] <= figures["rate"]["p75"]
            assert figures["microseconds"]["median"] > 0


def test_csv(call):
    out = succeed(call("bench", "gelu", "--shape", SMALL, "--shape", "tokens=3,channels=8", "--csv", *QUICK))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 2 * len(variants_of("gelu"))
    assert [row["shape"] for row in rows[:: len(variants_of("gelu"))]] == [
        f"{SMALL},approximate=none", "tokens=3,channels=8,approximate=none",
    ]  # fmt: skip
    for row in rows:
        assert row["op"] == "gelu" and row["squeezeops"] == squeezeops.__version__
        assert int(row["samples"]) >= int(row["accepted"])
        assert bool(row["rate_median"]) == bool(row["microseconds_p25"]) == (int(row["accepted"]) > 0)
    assert {"kernel", "processor", "threads", "share_p75", "peak", "flops", "bytes", "unit"} <= set(rows[0])


@pytest.mark.parametrize(
    ("arguments", "variants"),
    [
        (("--backend", "numpy"), [("numpy", None)]),
        (("--backend", "native", "--isa", "scalar"), [("native", "scalar")]),
        (
            ("--backend", "native", "--isa", "scalar", "--isa", *ISAS[:1]),
            [("native", isa) for isa in dict.fromkeys([*ISAS[:1], "scalar"])],
        ),
    ],
)
def test_choice_of_variants_and_threads(call, arguments, variants):
    if native is None and variants[0][0] == "native":
        return
    arguments = ("--shape", SMALL, "--json", *arguments, *QUICK, "--threads", "3")
    report = json.loads(succeed(call("bench", "tanh", *arguments)))
    assert [(row["threads"], row["backend"], row["isa"]) for row in report["results"]] == [
        (threads, *variant) for threads in (1, 3) for variant in variants
    ]
    assert [peak["threads"] for peak in report["peaks"]["after"]] == [1, 3]


@pytest.mark.parametrize("arguments", [(), ("--shape", "model")])
def test_shapes_of_the_model(call, monkeypatch, arguments):
    monkeypatch.setattr(cases, "OPS", [op_of("layer_norm")._replace(rows=[(2, 4), (3, 4)])])
    arguments = (*arguments, "--shape", SMALL) if arguments else ()
    out = succeed(call("bench", "layer_norm", "--json", "--backend", "numpy", *arguments, *QUICK))
    measured = [describe(row["shape"]) for row in json.loads(out)["results"]]
    assert measured == ["tokens=2,channels=4", "tokens=3,channels=4", *([SMALL] if arguments else [])]


def test_all_ops(call, monkeypatch):
    monkeypatch.setattr(cases, "COLD_BYTES", 1000)
    small = {"tokens": 2, "channels": 4, "rows": 2, "columns": 4, "batch": 1, "heads": 2, "c_in": 4, "c_out": 4}
    small |= {"vocabulary": 5, "positions": 3}
    rows = {op.name: [tuple(small[k] for k in op.shapes[0] if k in small)] for op in OPS}
    monkeypatch.setattr(cases, "OPS", [op._replace(rows=rows[op.name]) for op in OPS])
    out = succeed(call("bench", "--json", "--backend", "numpy", "--cold", *QUICK))
    results = json.loads(out)["results"]
    assert [row["op"] for row in results] == [op.name for op in OPS]
    assert [row["op"] for row in results if row["cold"]] == [
        f"pointwise_conv{dtype}" for dtype in ("", "_float16", "_int8")
    ]


def test_ops_without_a_kernel_are_skipped_unless_named(call, monkeypatch):
    chosen = {name: op_of(name)._replace(rows=[(2, 4)]) for name in ("layer_norm", "tanh")}
    monkeypatch.setattr(cases, "OPS", list(chosen.values()))
    monkeypatch.setattr(variants, "has_kernel", lambda variant, op: op.name == "tanh")
    numpy_only = ("--backend", "numpy", *QUICK)
    status, out, err = call("bench", "--json", *numpy_only)
    assert status == 0 and [row["op"] for row in json.loads(out)["results"]] == ["tanh"]
    assert err == "squeezeops: note: skipped, because there is no kernel for numpy: layer_norm\n"
    message = "layer_norm: expected a variant that has a kernel for it, got numpy"
    check_error(call("bench", "layer_norm", *numpy_only), message)


def test_counts_have_columns(call, monkeypatch):
    """Where the processor's counters can be read, which here stand still."""
    fake = SimpleNamespace(names=["instructions", "cycles"], count=lambda *_: {"instructions": 7, "cycles": 3})
    monkeypatch.setattr(counters, "Counters", lambda: fake)
    arguments = ("bench", "tanh", "--shape", SMALL, "--backend", "numpy", *QUICK)
    *_, title, row, _, _ = succeed(call(*arguments)).splitlines()
    assert title.split()[-4:] == ["accepted", "instructions", "cycles", "kernel"]
    assert row.split()[-3:] == ["7", "3", "numpy"] and row.index("numpy", 20) == title.index("kernel")
    (row,) = json.loads(succeed(call(*arguments, "--json")))["results"]
    assert (row["instructions"], row["cycles"]) == (7, 3)
    rows = csv.DictReader(io.StringIO(succeed(call(*arguments[:-1], "2", "--threads", "1", "--csv"))))
    assert [(row["instructions"], row["counters"]) for row in rows] == [(n, "counted with 1 thread") for n in ("", "7")]
    *_, row, _, _, _ = succeed(call(*arguments, "--threads", "2")).splitlines()
    assert row.split()[-3:] == ["-", "-", "numpy"]
    report = json.loads(succeed(call(*arguments[:-1], "2", "--json")))
    assert "cycles" not in report["results"][0] and "not counted: expected --threads 1" in report["machine"]["counters"]


def test_a_function_of_ones_own(call, tmp_path, monkeypatch):
    (tmp_path / "own_rows.py").write_text("import numpy as np\ndef tanh(x, *, out): return np.tanh(x, out=out)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])  # as in a console script
    arguments = ("bench", "tanh", "--shape", SMALL, "--backend", "numpy", *QUICK, "--against", "own_rows:tanh")
    assert [line.split()[0] for line in succeed(call(*arguments)).splitlines() if "tanh" in line] == ["tanh", "yours"]
    rows = json.loads(succeed(call(*arguments, "--json")))["results"]
    assert [(row["backend"], row["kernel"]) for row in rows] == [("numpy", "numpy"), ("yours", "own_rows:tanh")]
    check_error(call(*arguments[:-1], "own_rows:sinh"), "--against: own_rows:sinh: module 'own_rows' has no attribute")


def test_a_forward_pass_by_op(call, tmp_path):
    model = str(write_model(tmp_path / "model"))
    arguments = ("bench", "model", "--model", model, "--tokens", "5", *QUICK)
    out = succeed(call(*arguments))
    assert f"{model}, float32, 5 tokens on " in out and "timing by op adds" in out
    rows = [line.split() for line in out.splitlines() if re.search(r" us( |$)", line)]
    calls = {row[0]: int(row[-4]) for row in rows if "->" in row and row[0] != "PointwiseConv"}
    assert calls == {
        "embedding_layer_norm": 1, "pointwise_convs": 2, "attention": 2, "layer_norm": 4, "embedding": 1,
    }  # fmt: skip
    assert sum(float(row[-1].strip("%")) for row in rows[:-2]) == pytest.approx(100, abs=1)
    (tmp_path / "a.json").write_text(succeed(call(*arguments, "--json", "--backend", "numpy")))
    report = json.loads((tmp_path / "a.json").read_text())
    assert {row["backend"] for row in report["results"]} == {"numpy"} and len(report["results"][0]["raw"]) >= 1
    compared = succeed(call("bench", "--compare", *[str(tmp_path / "a.json")] * 2))
    assert f"attention tokens=5,given=5x16,result=5x16 float32 numpy {model} 1 thread" in compared
    check_error(call("bench", "model", "--model", model, "--tokens", "17"), "--tokens: expected at most 16, got 17")


@pytest.mark.parametrize(("attention", "quantised"), [("int8", True), ("float32", False)])
def test_a_forward_pass_with_attention_in_another_arithmetic(call, tmp_path, attention, quantised):
    model = str(write_model(tmp_path / "model"))
    arguments = ("bench", "model", "--model", model, "--dtype", "int8", "--tokens", "5", *QUICK)
    report = json.loads(succeed(call(*arguments, "--attention", attention, "--json")))
    results = [row["shape"]["result"] for row in report["results"] if row["op"] == "pointwise_convs"]
    assert {"+" in result for result in results} == {quantised}  # bytes and scales
    assert {row["dtype"] for row in report["results"]} == {f"int8 with {attention} attention"}
    check_error(call(*arguments, "--attention", "int4"), "--attention: invalid choice: 'int4'")


def test_a_forward_pass_of_a_multiple_choice(call):
    """Of one choice."""
    model = str(GOLDEN / "multiple_choice")
    assert f"{model}, float32, 3 tokens on " in succeed(
        call("bench", "model", "--model", model, "--tokens", "3", *QUICK)
    )


def test_a_forward_pass_of_random_weights(call):
    out = succeed(call("bench", "model", "--dtype", "int8", "--tokens", "3", *QUICK))
    assert f"SqueezeBERT-base, random weights, int8, 3 tokens on {ops.get_backend()}" in out
    assert re.search(r"^  layer_norm +3x768 -> 3x768 +\S+ +24 ", out, re.M)


def test_two_files_are_compared(call, tmp_path):
    arguments = ("bench", "tanh", "--shape", SMALL, "--backend", "numpy", "--json", *QUICK)
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    report = json.loads(succeed(call(*arguments)))
    for file, least in zip(files, (1000, 500), strict=True):
        report["results"][0]["raw"] = [[least + i, 1, 1] for i in range(30)]
        report["machine"]["cpus"] += 1
        Path(file).write_text(json.dumps(report))
    status, out, err = call("bench", "--compare", *files)
    name = "tanh tokens=5,channels=8 f32 numpy 1 thread"
    assert status == 0 and re.search(rf"^{name} +1014\.5 us +514\.5 us +0\.507 +\S+  faster$", out, re.M)
    assert re.fullmatch(r"squeezeops: note: times can not be compared: cpus: \d+ before, \d+ after\n", err)
    (line,) = json.loads(call("bench", "--compare", *files, "--json")[1])
    assert line["row"] == name and line["ratio"] == pytest.approx(line["after"] / line["before"])
    Path(files[1]).write_text("{")
    check_error(call("bench", "--compare", *files), "b.json: file: expected JSON, got Expecting property name")
    check_error(call("bench", "--compare", files[0], str(tmp_path / "c.json")), "c.json: No such file")


@pytest.mark.skipif(native is None, reason="built without the native extension, which measures the peaks")
def test_no_sample_was_accepted(call, tmp_path, monkeypatch):
    """On a machine that something else uses all the time, figures are missing, in every form."""
    monkeypatch.setattr(measure, "TOLERANCE", -1)
    model = ("bench", "model", "--model", str(write_model(tmp_path / "model")), "--tokens", "5")
    op = ("bench", "tanh", "--shape", SMALL)
    for arguments in (op, model):
        arguments = (*arguments, "--backend", "numpy", *QUICK)
        table = succeed(call(*arguments))
        assert re.search(r"\b0 of \d+\b", table) and not re.search(r"\d us\b|nan", table)
        file = tmp_path / "results.json"
        file.write_text(succeed(call(*arguments, "--json")))
        assert {row["figures"]["microseconds"] for row in json.loads(file.read_text())["results"]} == {None}
        lines = succeed(call("bench", "--compare", str(file), str(file))).splitlines()[1:]
        assert lines and all(re.search(r" +- +- +- +-  no accepted samples$", line) for line in lines)
    (row,) = csv.DictReader(io.StringIO(succeed(call(*op, "--backend", "numpy", "--csv", *QUICK))))
    assert (row["accepted"], row["microseconds_median"], row["rate_median"]) == ("0", "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gelu", "--compare", "a", "b"], "--compare: expected no op and no --csv beside it, got gelu"),
        (["--compare", "a", "b", "--csv"], "--compare: expected no op and no --csv beside it, got --csv"),
        (["--against", "a:b"], "--against: expected an op before it, got none"),
        (["gelu", "--tokens", "5"], "--tokens: expected model before it"),
        (["model", "--shape", SMALL], "--shape: expected an op before it"),
        (["model", "--cold"], "--cold: expected an op before it"),
        (["model", "--tokens", "513"], "--tokens: expected at most 512, got 513"),
        (["model", "--dtype", "int4"], "--dtype: invalid choice: 'int4'"),
        (["conv"], "expected an op among attention, .*, or model, got 'conv'"),
        (["--shape", SMALL], "--shape: expected an op before it, got none"),
        (["gelu", "--shape", "tokens"], "--shape: expected a shape such as tokens=64,channels=768, got 'tokens'"),
        (["gelu", "--shape", "tokens=5"], "gelu: expected sizes tokens, channels, approximate, got none for channels"),
        (["gelu", "--shape", "tokens=0,channels=8"], "gelu: tokens: expected a number from 1 to 2147483647, got 0"),
        (["gelu", "--shape", f"{SMALL},approximate=no", *QUICK], "gelu: approximate: expected one of .*'no'"),
        (["pointwise_conv", "--shape", "tokens=5,c_in=8,c_out=8,groups=3", *QUICK], "groups: expected a divisor of"),
        (["pointwise_conv", "--shape", "tokens=5,c_in=8,c_out=8", "--cold", *QUICK], "at least 8192 bytes, got 256"),
        (["softmax", "--cold"], "--cold: expected an op that has weights, got softmax"),
        (["--backend", "abacus"], "--backend: expected one of .*numpy.*, got 'abacus'"),
        (["--isa", "avx9000"], "--isa: expected one that runs here .*, got 'avx9000'"),
        (["--backend", "numpy", "--isa", "scalar"], "--isa: expected one that runs here \\(none\\), got 'scalar'"),
        (["--seconds", "0"], "--seconds: expected a number above 0, at most 3600, got '0'"),
        (["--seconds", "nan"], "--seconds: expected a number above 0, at most 3600, got 'nan'"),
        (["--threads", "0"], "--threads: expected a whole number of at least 1, got '0'"),
        (["gelu", "--threads", "257"], "--threads: expected a whole number of at most 256, got '257'"),
        (["--json", "--csv"], "not allowed with argument"),
    ],
)
def test_wrong_arguments(call, arguments, message):
    check_error(call("bench", *arguments), message)


def test_more_memory_than_there_is(call):
    huge = f"tokens={2**31 - 1},channels={2**31 - 1}"
    check_error(call("bench", "gelu", "--shape", huge, *QUICK), "MemoryError|[Uu]nable to allocate|too (big|large)")


def test_help_names_the_ops_without_numpy():
    program = "import sys; from squeezeops.cli import main; main(['bench', '--help']); sys.exit('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment(), timeout=seconds(120))
    assert done.returncode == 0, done.stderr
    assert all(op.name in done.stdout.decode() for op in OPS)


# ---- squeezeops info -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(native is None, reason="built without the native extension")
def test_info_says_why_a_kernel_was_chosen():
    def kernels(**variables):
        variables = {"SQUEEZEOPS_ISA": "", "SQUEEZEOPS_BACKEND": "native", **variables}
        facts = json.loads(succeed(run("info", "--json", **variables)))
        text = succeed(run("info", **variables))
        for kernel in facts["kernels"]:
            assert f"{kernel['op']}: {kernel['kernel']} (tile {kernel['tile']}; {kernel['why']})" in text
        return facts["kernels"]

    best = kernels()
    assert {kernel["op"]: kernel["kernel"] for kernel in best} == ops.cpu_info()["kernels"]
    for kernel in best:
        assert kernel["kernel"].endswith(f"_{kernel['isa']}")
        assert kernel["why"] == (
            f"{ALL_ISAS[0]} is the best that runs here"
            if kernel["isa"] == ALL_ISAS[0]
            else f"fallback of {ALL_ISAS[0]}, the best that runs here"
        )
    forced = kernels(SQUEEZEOPS_ISA="scalar")
    assert {kernel["why"] for kernel in forced} == {"forced by SQUEEZEOPS_ISA"}
    assert all(kernel["kernel"].endswith("_scalar") for kernel in forced)


def test_a_backend_without_kernels_has_peaks_too(call):
    out = succeed(call("bench", "gelu", "--shape", SMALL, "--backend", "numpy", *QUICK))
    assert f"1 thread: {ISAS[0]} " in out and "not measured" not in out


def test_info_and_bench_where_the_extension_is_for_another_python(tmp_path):
    """The other binding works, and whatever asks the extension reports that there is none."""
    package = tmp_path / "squeezeops"
    without_cache = shutil.ignore_patterns("__pycache__")  # to which other processes write
    shutil.copytree(Path(squeezeops.__file__).parent, package, ignore=without_cache)
    (extension,) = package.glob("_native.*")
    extension.rename(package / "_native.cpython-39-other.so")
    for command in (["info"], ["bench", "gelu", "--shape", SMALL, "--backend", "cffi", *QUICK]):
        done = subprocess.run(
            [*COMMAND, *command],
            capture_output=True,
            text=True,
            env=environment(SQUEEZEOPS_BACKEND="cffi", PYTHONPATH=str(tmp_path)),
        )
        assert done.returncode == 0, done.stderr


def test_info_on_a_backend_without_kernels():
    out = succeed(run("info", SQUEEZEOPS_BACKEND="numpy"))
    assert re.search("^backend +numpy, by SQUEEZEOPS_BACKEND ", out, re.M)
    assert re.search("^kernels +none: the backend numpy has no compiled ones$", out, re.M)
    assert json.loads(succeed(run("info", "--json", SQUEEZEOPS_BACKEND="numpy")))["kernels"] == []


# ---- pytest-benchmark ------------------------------------------------------------------------------------------------


def test_pytest_benchmark(tmp_path):
    folder = Path(__file__).parents[1] / "bench"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), "-k", "tanh and tokens:16"]
    quick = ["--benchmark-json=figures.json", "--benchmark-max-time=0.001", "--benchmark-min-rounds=1"]
    # pytest-benchmark measures nothing if it finds itself in a worker of pytest-xdist.
    env = {name: value for name, value in environment().items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run([*command, *quick], cwd=tmp_path, env=env, capture_output=True, timeout=seconds(120))
    assert done.returncode == 0, done.stdout.decode()
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["machine_info"]["squeezeops"]["squeezeops"] == squeezeops.__version__
    assert len(report["benchmarks"]) == len(variants_of("tanh"))
    for bench, variant in zip(report["benchmarks"], variants_of("tanh"), strict=True):
        assert bench["group"] == "tanh tokens=16,channels=768"
        extra = bench["extra_info"]
        assert extra["kernel"] == (f"activation_f32_{variant.isa}" if variant.isa else variant.backend)
        assert (extra["dtype"], extra["bytes"], extra["flops"]) == ("f32", 2 * 4 * 16 * 768, 0)
        assert extra["GB/s"] == pytest.approx(extra["bytes"] / bench["stats"]["median"] / 1e9)
