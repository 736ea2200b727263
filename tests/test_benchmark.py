"""The benchmarks: shapes, cases, variants, and how samples become figures. No test depends on the machine's speed."""

import itertools
import json
import math
import sys
import threading

import numpy as np
import pytest
from op_helpers import ALL_ISAS, native

from squeezeops import ops
from squeezeops.benchmark import cases, forward, measure, variants
from squeezeops.benchmark.against import CONVERT, load
from squeezeops.benchmark.cases import OPS, describe, op_of, parse
from squeezeops.benchmark.compare import compare, differences_of_machines, in_blocks, mann_whitney, read_results
from squeezeops.benchmark.counters import Counters
from squeezeops.benchmark.measure import Quartiles, Sample
from squeezeops.benchmark.variants import Variant, all_variants, compiled_library, has_kernel, using_threads

compiled = pytest.mark.skipif(native is None, reason="built without the native extension")
SMALL = {"tokens": 5, "batch": 2, "rows": 3, "columns": 7, "channels": 8, "c_in": 8, "c_out": 12, "heads": 2}
SMALL |= {"vocabulary": 11, "positions": 4, "groups": 4, "residual": 1}
SIZES = "tokens=5,channels=8"
MEMORY = np.ones(2**20, np.float32)


def small(op):
    return op.check({name: SMALL[name] for name in op.parameters if name in SMALL})


# ---- shapes ----------------------------------------------------------------------------------------------------------


def test_shapes_are_written_and_read():
    shape = {"tokens": 64, "c_in": 768, "activation": "gelu"}
    assert describe(shape) == "tokens=64,c_in=768,activation=gelu"
    assert parse(describe(shape)) == shape
    assert parse(" tokens = 64 ,c_in=768") == {"tokens": 64, "c_in": 768}


@pytest.mark.parametrize(
    ("op", "text", "message"),
    [
        *(("gelu", text, "expected") for text in ("tokens", "tokens=", "=3", "tokens=1,", "tokens=1;c=2=", ",")),
        ("gelu", "", "expected a shape such as"),
        ("gelu", "a=1,,b=2", "expected a shape such as"),
        ("gelu", "tokens=1,tokens=2", "expected each size once, got tokens twice"),
        ("layer_norm", "tokens=5", "layer_norm: expected sizes tokens, channels, got none for channels"),
        ("layer_norm", f"{SIZES},depth=3", "layer_norm: expected sizes among tokens, channels, got 'depth'"),
        *(
            (
                "layer_norm",
                f"tokens={n},channels=8",
                f"layer_norm: tokens: expected a number from 1 to 2147483647, got {got}",
            )
            for n, got in ((0, "0"), (-1, "'-1'"), ("x", "'x'"), (2**31, "2147483648"))
        ),
        ("embedding", f"{SIZES},vocabulary=9,table=int4", "table: expected float32, float16 or int8, got 'int4'"),
        ("pointwise_conv", "tokens=5,c_in=8,c_out=12,groups=3", "groups: expected a divisor of c_in = 8, got 3"),
        ("conv", SIZES, "expected one of pointwise_conv, .*, got 'conv'"),
    ],
)
def test_wrong_shapes(op, text, message):
    with pytest.raises(ValueError, match=message):
        op_of(op).make(**op_of(op).check(parse(text)))


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_shapes_of_the_model(op):
    assert op.shapes
    for shape in op.shapes:
        assert list(shape) == [name for name in op.parameters if name in shape]
        assert op.check(shape).items() >= shape.items()
    if "tokens" in op.parameters:
        assert {16, 32, 128, 384} <= {shape["tokens"] for shape in op.shapes}


def test_the_shapes_are_the_whole_model():
    """12 layers at 128 tokens are 7.4 GFLOP. Query, key and value share one listed shape."""
    layer = 0
    for name in ("pointwise_conv", "attention"):
        for shape in op_of(name).shapes:
            if shape["tokens"] == 128:
                times = 3 if (shape.get("c_out"), shape.get("groups")) == (768, 4) and shape["c_in"] == 768 else 1
                layer += times * op_of(name).make(**shape).flops
    assert 12 * layer == 12 * (3 * 37748736 + 150994944 + 2 * 150994944 + 50331648)


# ---- cases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("which", all_variants(), ids=str)
def test_every_case_runs(op, which):
    if not has_kernel(which, op):
        return  # the variant of another ISA tests it
    with which.active():
        case = op.make(**small(op))
        result = case.call()
        first = [part.copy() for part in (result if isinstance(result, tuple) else (result,))]
        assert all(part.size and np.isfinite(part).all() for part in first)
        again = case.call()
        for part, before in zip(again if isinstance(again, tuple) else (again,), first, strict=True):
            np.testing.assert_array_equal(part, before)
        if which.isa:
            assert which.kernel() == f"{op.kernel}_{op.dtype}_{which.isa}"
        else:
            assert which.kernel() == which.backend
    assert case.bytes > 0 and (case.flops > 0) == (op.unit in ("GFLOP/s", "GOP/s"))


@pytest.mark.parametrize(
    ("name", "size", "flops"),
    [
        ("pointwise_conv", 4 * (12 * 2 + 12 + 5 * (8 + 12 + 12)), 2 * 5 * 2 * 12),
        ("pointwise_conv_float16", 2 * 12 * 2 + 4 * (12 + 5 * (8 + 12 + 12)), 2 * 5 * 2 * 12),
        ("pointwise_conv_int8", 12 * 2 + 4 * (12 + 5 * (8 + 12 + 12)), 2 * 5 * 2 * 12),
        ("quantize_rows", 5 * (4 * 8 + 8 + 4 * 4), 0),
        ("attention", 4 * 4 * (2 * 5 * 8), 2 * 2 * (2 * 5 * 5 * 8)),
        ("layer_norm", 4 * (2 * 5 * 8 + 8 + 8), 0),
        ("softmax", 4 * 2 * 3 * 7, 0),
        ("gelu", 4 * 2 * 5 * 8, 0),
        ("tanh", 4 * 2 * 5 * 8, 0),
        ("l2_normalize", 4 * 2 * 3 * 8, 0),
        ("mean_pool", 4 * (2 * 5 * 8 + 2 * 8), 0),
        ("embedding", 5 * (8 + 4 * 8 + 4 * 8), 0),
        ("embedding_layer_norm", 5 * (3 * (8 + 4 * 8) + 4 * 8) + 2 * 4 * 8, 0),
    ],
)
def test_work(name, size, flops):
    op = op_of(name)
    case = op.make(**small(op))
    assert (case.bytes, case.flops) == (size, flops)


def test_work_of_other_shapes():
    """Quantised rows are bytes plus one scale per group, in place of floats. Tables have elements of three types."""
    case = op_of("pointwise_conv_int8").make(5, 8, 12, groups=2, quantized=1)
    assert (case.bytes, case.flops) == (12 * 4 + 5 * (8 + 4 * 2) + 4 * (12 + 5 * 12), 2 * 5 * 12 * 4)
    assert np.array_equal(case.call(), op_of("pointwise_conv_int8").make(5, 8, 12, groups=2).call())
    for table, row in (("float32", 4 * 8), ("float16", 2 * 8), ("int8", 8 + 4)):
        one, three = op_of("embedding").make(5, 11, 8, table), op_of("embedding_layer_norm").make(5, 11, 7, 8, table)
        assert one.bytes == 5 * (8 + row + 4 * 8) and three.bytes == 5 * (3 * (8 + row) + 4 * 8) + 2 * 4 * 8
        assert one.call().shape == three.call().shape == (5, 8)


def test_arrays_begin_pages():
    for array in (*(cases.floats(n, 3, dtype=dtype) for n in (1, 7, 50_000) for dtype in ("float32", "float16")),
                  op_of("gelu").make(5, 8).call()):  # fmt: skip
        assert array.ctypes.data % 4096 == 0 and array.flags.c_contiguous
    assert cases.floats(2, 60_000).ravel()[99_991] == cases.floats(1)[0]


def test_cold_weights_take_turns(monkeypatch):
    used = []

    class Conv(ops.PointwiseConv):
        def __call__(self, *args, **kwargs):
            used.append(self)
            return super().__call__(*args, **kwargs)

    monkeypatch.setattr(ops, "PointwiseConv", Conv)
    monkeypatch.setattr(cases, "COLD_BYTES", 3 * 4 * 12 * 2 - 1)
    op = op_of("pointwise_conv")
    case = op.make(5, 8, 12, 4, cold=True)
    for _ in range(6):
        case.call()
    assert len(set(map(id, used))) == 3 and used[:3] == used[3:]
    assert [op.name for op in OPS if op.has_weights] == [f"pointwise_conv{s}" for s in ("", "_float16", "_int8")]
    assert "cold" not in op.parameters


# ---- variants --------------------------------------------------------------------------------------------------------


def test_all_variants():
    found = all_variants()
    assert list(dict.fromkeys(variant.backend for variant in found)) == ops.available_backends()
    assert [variant.isa for variant in found if variant.backend == "native"] == ALL_ISAS
    assert Variant("numpy") in found
    assert all_variants(["numpy"]) == [Variant("numpy")]
    assert str(Variant("numpy")) == "numpy" and str(Variant("native", "avx2")) == "native-avx2"


@compiled
def test_a_variant_puts_back_what_was():
    backend, isa, threads = ops.get_backend(), ops.cpu_info()["isa"], native.get_num_threads()
    for variant in all_variants():
        with variant.active(), using_threads(3):
            assert ops.get_backend() == variant.backend
            assert ops.get_num_threads() == native.get_num_threads() == 3
            assert variant.isa in (None, ops.cpu_info()["isa"])
        assert (ops.get_backend(), ops.cpu_info()["isa"], native.get_num_threads()) == (backend, isa, threads)


@compiled
def test_another_kernel_is_an_error():
    with Variant("native", "scalar").active():
        ops.tanh(np.ones(3, np.float32))
    with pytest.raises(RuntimeError, match="expected a kernel of avx9000 to run, got 'activation_f32_scalar'"):
        Variant("native", "avx9000").kernel()


# ---- peaks -----------------------------------------------------------------------------------------------------------


@compiled
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("isa", ALL_ISAS)
def test_peaks(isa, threads):
    with Variant("native", isa).active(), using_threads(threads):
        assert 0 < native.peak_fma(1e-6) < 1e15
        assert 0 < native.peak_s8(1e-6) < 1e15
        assert 0 < native.peak_read(MEMORY) < 1e15
        assert 0 < native.peak_read(np.ones(2**20 + 77, np.float32)) < 1e15


@compiled
def test_peaks_from_two_threads():
    """The thread pool serves one of them; the other does all its work itself."""
    rates = []

    def run():
        for _ in range(3):
            rates.append(native.peak_fma(1e-4))
            rates.append(native.peak_read(MEMORY))

    with using_threads(2):
        workers = [threading.Thread(target=run) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(rates) == 12 and min(rates) > 0


@compiled
@pytest.mark.parametrize(
    ("peak", "values", "exception", "message"),
    [
        (
            "fma",
            [0, -1, 10.5, float("nan"), float("inf")],
            ValueError,
            "seconds: expected a number above 0, at most 10",
        ),
        ("fma", ["1", None, True], TypeError, "seconds: expected a number"),
        ("read", [MEMORY[1:]], ValueError, r"n: expected from 2\^20 to 2\^58 floats, got 1048575"),
        (
            "read",
            [MEMORY.astype(float), MEMORY[::2], [1.0], None],
            TypeError,
            "x: expected a C-contiguous array of float32",
        ),
    ],
)
def test_wrong_arguments_of_peaks(peak, values, exception, message):
    for value in values:
        with pytest.raises(exception, match=f"peak_{peak}: {message}"):
            getattr(native, f"peak_{peak}")(value)


def test_without_the_extension(monkeypatch):
    monkeypatch.setattr("squeezeops.backends.available", lambda: ["numpy"])
    monkeypatch.delattr("squeezeops._native", raising=False)
    monkeypatch.setitem(sys.modules, "squeezeops._native", None)
    assert compiled_library() is None and all_variants() == [Variant("numpy")]
    peaks = measure.fma_peak(), measure.int8_peak(), measure.read_peak(None, 1), measure.some_memory()
    assert peaks == (None, None, None, None)
    assert measure.machine_peaks([], 1, None) == {"threads": 1, "fma": {}, "int8": {}, "read": None}
    for name in ("gelu", "attention"):
        op = op_of(name)
        results = measure.bench(
            op, small(op), all_variants(), threads=1, seconds=1e-4, cold=False, memory=measure.some_memory()
        )
        figures = results[0].figures
        assert len(results) == 1 and results[0].kernel == "numpy"
        assert figures.accepted == figures.samples > 0 and figures.rate.median > 0
        assert figures.peak is figures.share is None


# ---- samples and figures ---------------------------------------------------------------------------------------------


class Clock:
    """A clock that advances by `call` seconds per call, and peaks from a list, whose last one repeats."""

    def __init__(self, call=1e-3, peaks=(100.0,)):
        self.now, self.duration, self.calls, self.peaks = 0.0, call, 0, list(peaks)

    def call(self):
        self.now += self.duration
        self.calls += 1

    def peak(self):
        return self.peaks.pop(0) if len(self.peaks) > 1 else self.peaks[0]

    def samples(self, seconds):
        return measure.take_samples(self.call, seconds, peak=self.peak, clock=lambda: self.now)


def test_samples_last_as_long_as_asked_for():
    samples = Clock(call=0.1).samples(1.0)
    assert len(samples) in (10, 11)  # floating-point time
    assert all(sample.seconds == pytest.approx(0.1) and sample.accepted for sample in samples)


def test_short_calls_are_repeated():
    clock = Clock(call=1e-6)
    samples = clock.samples(0.01)
    assert len(samples) in (50, 51) and clock.calls == 4 + 200 * len(samples)
    assert all(sample.seconds == pytest.approx(1e-6) for sample in samples)


def test_a_noisy_machine_gets_more_time_but_not_for_ever():
    clock = Clock(call=0.1, peaks=[100.0, 50.0] * 100)
    samples = clock.samples(1.0)
    assert len(samples) in (40, 41) and not any(sample.accepted for sample in samples)
    clock = Clock(call=0.1, peaks=[100.0, 50.0] * 10 + [80.0])
    samples = clock.samples(1.0)
    assert sum(sample.accepted for sample in samples) == measure.ENOUGH < len(samples)


def test_each_sample_lies_between_two_peaks():
    samples = Clock(call=0.1, peaks=[100.0, 99.0, 90.0, 96.0]).samples(0.25)
    assert [(sample.before, sample.after) for sample in samples[:3]] == [(100.0, 99.0), (99.0, 90.0), (90.0, 96.0)]
    assert [sample.accepted for sample in samples[:3]] == [True, False, False]


@pytest.mark.parametrize(
    ("before", "after", "accepted"), [(100, 94, True), (94, 100, True), (100, 93.9, False), (93.9, 100, False)]
)
def test_peaks_within_6_per_cent(before, after, accepted):
    assert Sample(1.0, before, after).accepted is accepted


def test_summary():
    times = [1.0, 2.0, 4.0, 5.0, 8.0]
    samples = [Sample(time, 39e9, 41e9) for time in times] + [Sample(0.1, 10e9, 40e9)]
    figures = measure.summarize(samples, 40 * 10**9)
    assert (figures.samples, figures.accepted) == (6, 5)
    assert figures.seconds == Quartiles(2, 4, 5)
    assert figures.rate == Quartiles(8e9, 10e9, 20e9)
    assert figures.peak == 40e9
    assert figures.share == Quartiles(0.2, 0.25, 0.5)


def test_other_summaries():
    samples = [Sample(1.0, 20e9, 20e9), Sample(2.0, 10e9, 10e9)]
    assert measure.summarize(samples, 10**10).share == Quartiles(0.5, 0.5, 0.5)  # of each sample's own peak
    assert measure.summarize(samples, 0).share is None
    figures = measure.summarize([Sample(1.0, 39e9, 41e9)], 5 * 10**9, speed=20e9)  # of bytes
    assert figures.rate == Quartiles(5e9, 5e9, 5e9) and figures.peak == 20e9
    assert figures.share == Quartiles(0.25, 0.25, 0.25)
    assert measure.summarize([Sample(1.0, 10e9, 40e9)], 1) == (1, 0, None, None, None, None)


def test_a_result_for_json_is_in_microseconds_and_billions():
    op = op_of("tanh")
    figures = measure.summarize([Sample(0.5, 4e9, 4e9)], 10**9)
    taken, counts = [Sample(0.5, 4e9, None)], {"cycles": 7.0}
    options = op, small(op), False, 1, Variant("numpy"), "numpy", op.make(**small(op)), figures
    whole = measure.Result(*options, taken, counts).as_dict()
    assert whole["raw"] == [[5e5, 4, None]] and whole["cycles"] == 7
    found = whole["figures"]
    assert {name: value["median"] for name, value in found.items() if isinstance(value, dict)} == {
        "microseconds": 5e5, "rate": 2, "share": 0.5,
    }  # fmt: skip
    assert (found["samples"], found["accepted"], found["peak"]) == (1, 1, 4)


# ---- two files -------------------------------------------------------------------------------------------------------


def every_division(a, b):
    """The p value by its definition: of all ways to divide the values, the share that is as far from the mean."""
    values, n = np.array([*a, *b]), len(a)
    ranks = (values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) + 1) / 2
    off = [abs(ranks[list(chosen)].sum() - ranks.sum() * n / len(values)) for chosen in
           itertools.combinations(range(len(values)), n)]  # fmt: skip
    return np.mean(np.array(off) >= off[0] - 1e-9)


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        ([1, 2, 3], [4, 5, 6], 2 / 20), ([1], [2], 1), ([1, 1, 1], [1, 1], 1), ([1, 2, 2, 3], [2, 3, 4, 4, 4], None),
        ([0.5, 3, 9, 2], [1, 1, 7], None), ([5, 6, 7, 8, 9], [1, 2, 3, 4, 5], None),
    ],
)  # fmt: skip
def test_the_rank_test_is_exact(a, b, p):
    assert mann_whitney(a, b) == pytest.approx(every_division(a, b))
    assert mann_whitney(b, a) == pytest.approx(mann_whitney(a, b))
    assert p is None or mann_whitney(a, b) == pytest.approx(p)


def test_a_difference_by_chance_is_as_rare_as_p_says():
    """Also if samples depend on their neighbours, as on a shared machine, since blocks of them are compared."""
    random = np.random.default_rng(3)

    def bursts():
        return np.repeat(random.random(30), 8) + 0.1 * random.random(240)

    pairs = [(bursts(), bursts()) for _ in range(200)]
    p = [mann_whitney(in_blocks(a), in_blocks(b)) for a, b in pairs]
    assert 4 <= sum(value < 0.05 for value in p) <= 20 and sum(value < 0.001 for value in p) <= 1
    assert in_blocks(range(60)) == [1.0 + 3 * i for i in range(20)] and in_blocks([5, 3]) == [5, 3]
    with pytest.raises(ValueError, match="expected values on both sides, got 0 and 1"):
        mann_whitney([], [1])


def results(path, rows, **machine):
    """Write a results file with rows of these times, whose samples were accepted unless they are negative."""
    found = [
        {"op": name, "shape": {"tokens": 1}, "dtype": "f32", "backend": "native", "isa": "avx2", "cold": False,
         "threads": threads, "raw": [[abs(time), 100, 100 if time > 0 else 50] for time in times]}
        for (name, threads), times in rows.items()
    ]  # fmt: skip
    path.write_text(json.dumps({"machine": {"cpus": 2, **machine}, "results": found}))
    with path.open("rb") as file:
        return read_results(str(path), file)


def test_two_files(tmp_path):
    base = [10 + i / 100 for i in range(30)]
    before = {("a", 1): base, ("b", 1): base, ("c", 1): base, ("d", 1): base, ("e", 1): [-1.0], ("f", 1): base}
    after = {
        ("a", 1): [2 * t for t in base], ("b", 1): [0.5 * t for t in base], ("c", 1): base[::-1] + [-900.0] * 40,
        ("f", 1): [1.002 * t for t in base], ("e", 1): base, ("g", 2): base,
    }  # fmt: skip
    one, two = results(tmp_path / "1", before, cpus=2), results(tmp_path / "2", after, cpus=4, squeezeops="0.2")
    lines = {line.row[0]: line for line in compare(one, two)}
    assert {name: line.verdict for name, line in lines.items()} == {
        "a": "slower", "b": "faster", "c": "no difference", "d": "only in before", "e": "no accepted samples",
        "f": "no difference", "g": "only in after",
    }  # fmt: skip
    assert lines["a"].row == "a tokens=1 f32 native avx2 1 thread" and lines["g"].row.endswith(" 2 threads")
    assert lines["a"].ratio == pytest.approx(2) and lines["a"].p < 1e-9 and lines["a"].before == pytest.approx(10.145)
    assert list(differences_of_machines(one, two)) == ["cpus: 2 before, 4 after", "threads: 1 before, 1, 2 after"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file: expected JSON, got Expecting value"),
        ("[1]", "file: expected a JSON object"),
        ('{"machine": {}, "results": [{"op": "a"}]}', "got something else"),
        ('{"machine": {}, "results": [ROW]}', "with raw samples, got those of an older version: measure again"),
        ('{"machine": {}, "results": [{"raw": [[1, 2]], ROW]}', "got wrong samples in a tokens=1 f32 native 1 thread"),
        *(
            (f'{{"machine": {{}}, "results": [{{"raw": [[{us}, 2, 2]], ROW]}}', "got wrong samples")
            for us in ('"x"', "NaN", "Infinity", "0", "-1", "1" + "0" * 400)
        ),
        ("[" * 100_000, "file: expected JSON, got values nested too deeply"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, message):
    row = '"op": "a", "shape": {"tokens": 1}, "dtype": "f32", "backend": "native", "isa": null, "cold": false, '
    (tmp_path / "x.json").write_text(text.replace("[ROW", "[{ROW").replace("ROW", row + '"threads": 1}'))
    with (tmp_path / "x.json").open("rb") as file, pytest.raises(ValueError, match=f"x.json: .*{message}"):
        read_results("x.json", file)


# ---- counters --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts")
def test_events_are_counted_per_call():
    """By two clocks of the kernel, which every Linux has: nanoseconds that the thread ran."""
    try:
        counters = Counters({"one": (1, 1), "other": (1, 1)})
    except OSError as error:
        assert "not permitted" in str(error) or "no such counters" in str(error)
        return
    x = np.ones(2**20, np.float32)
    counts = counters.count(lambda: np.add(x, x, out=x), 4)
    assert 1e4 < counts["one"] < 1e9 and counts["other"] == pytest.approx(counts["one"], rel=0.5)
    assert counters.count(lambda: None, 100_000)["one"] < 1e4
    counters.close()


def test_what_can_not_be_counted(monkeypatch):
    with pytest.raises(OSError, match="perf_event_open: |no such counters|not permitted"):
        Counters({"none": (1, 999)})
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    with pytest.raises(OSError, match="expected Linux on x86 or ARM, got Linux abacus"):
        Counters()


# ---- the user's own kernel -------------------------------------------------------------------------------------------


@compiled
@pytest.mark.parametrize("op", [op_of(name) for name in CONVERT], ids=lambda op: op.name)
def test_a_function_in_c_gets_the_arguments_of_ours(op):
    """Our own pointer functions take the place of the user's."""
    symbol = {"pwconv": "sqz_pwconv_f32"}.get(op.kernel, f"sqz_{op.kernel}_{op.dtype}")
    theirs = load(f"{native.__file__}:{symbol}", op)
    theirs.check(op, small(op))
    bench = {"threads": 1, "seconds": 1e-4, "cold": False, "memory": MEMORY}
    for shape in (small(op), {**small(op), **{name: 16 for name in ("tokens", "rows") if name in small(op)}}):
        (result,) = measure.bench(op, shape, [theirs], **bench)
        assert (result.kernel, result.variant.backend) == (theirs.name, "yours") and result.taken
        assert symbol[4:].rpartition("_")[0] in native.last_kernel()  # it ran, though not as a variant


MINE = """
import numpy as np
import squeezeops
def tanh(x, *, out): return np.tanh(x, out=out)
def forgets(x, *, out): return out
def other_shape(x, *, out): return x[:1]
def returns_none(x, *, out): np.tanh(x, out=out)
def fails(x, *, out): raise KeyError("x")
def text(x, *, out): return np.full(x.shape, "a")
def objects(x, *, out): return np.full(x.shape, None)
def masked(x, *, out): return np.ma.masked_array(np.tanh(x, out=out))
def softmax(x, *, out): return np.exp(x) / np.exp(x).sum(-1, keepdims=True)
def nearly_softmax(x, *, out): return np.float32(1.001) * softmax(x, out=out)
class Conv(squeezeops.PointwiseConv): pass
def conv(weight, bias, *, groups, dtype): return Conv(weight, bias, groups=groups, dtype=dtype)
def quantize(x, *, groups, out): return squeezeops.quantize_rows(x, groups=groups, out=out)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "own_kernels.py").write_text(MINE)
    (tmp_path / "broken_kernels.py").write_text("x = (")
    (tmp_path / "failing_kernels.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("tanh", "tanh"), ("masked", "tanh"), ("quantize", "quantize_rows"), ("conv", "pointwise_conv"),
        ("conv", "pointwise_conv_int8"),
    ],
)  # fmt: skip
def test_a_function_in_python_is_called_as_ours(mine, name, op):
    load(f"own_kernels:{name}", op_of(op)).check(op_of(op), small(op_of(op)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "own_kernels:forgets",
            r"tanh tokens=5,channels=8: expected our result to 0.0001 of its amax, got a difference of inf",
        ),
        ("own_kernels:other_shape", "got a difference of inf"),
        ("own_kernels:returns_none", "expected the result, 1 arrays, got NoneType"),
        ("own_kernels:fails", "KeyError: 'x'"),
        ("own_kernels:text", "expected a result of numbers, got <U1"),
        ("own_kernels:objects", "expected a result of numbers, got object"),
        ("broken_kernels:tanh", "SyntaxError: "),
        ("failing_kernels:tanh", "ZeroDivisionError: division by zero"),
        (".own_kernels:tanh", "TypeError: the 'package' argument"),
        ("own_kernels:absent", "module 'own_kernels' has no attribute 'absent'"),
        ("no_such_module:tanh", "No module named 'no_such_module'"),
        ("./no_such.so:tanh", "no_such.so: cannot open shared object file"),
        ("own_kernels", "expected module:function or path/to/library.so:symbol"),
    ],
)
def test_a_function_that_is_wrong(mine, text, message):
    with pytest.raises(ValueError, match=f"^{text}: .*{message}"):
        load(text, op_of("tanh")).check(op_of("tanh"), small(op_of("tanh")))


def test_results_are_compared_with_their_amax(mine):
    """A softmax over many columns has small results."""
    shape = {"rows": 2, "columns": 5000}
    load("own_kernels:softmax", op_of("softmax")).check(op_of("softmax"), shape)
    with pytest.raises(ValueError, match="got a difference of 0.001$"):
        load("own_kernels:nearly_softmax", op_of("softmax")).check(op_of("softmax"), shape)


def test_an_op_without_a_pointer_function_takes_python_alone():
    with pytest.raises(
        ValueError, match="own.so:f: expected a function in Python: none in C is called in the place of .*_int8"
    ):
        load("own.so:f", op_of("pointwise_conv_int8"))


# ---- a forward pass by op --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [which for which in all_variants() if which.isa in (None, *ALL_ISAS[:1])], ids=str)
def test_a_pass_consists_of_its_calls(which):
    """All calls are found, in every pass; the weights are packed once; and the parts add up."""
    weight, x = np.ones((12, 8), np.float32), np.ones((5, 8), np.float32)
    with which.active():
        conv = ops.PointwiseConv(weight)

        def forward_pass():
            for _ in range(3):
                ops.layer_norm(x)
            a, b = ops.pointwise_convs(x, (conv, conv))
            ops.pointwise_convs(x, (conv, conv), quantize_groups=2)
            return conv(x), ops.softmax(a + b)

        found = forward.profile(forward_pass, 1e-3)
        assert len(conv._packed) == 1 and ops.get_backend() == which.backend
    assert [(row.call.op, row.call.given, row.call.result, row.calls) for row in found.rows] == [
        ("layer_norm", "5x8", "5x8", 3), ("pointwise_convs", "5x8", "2 x 5x12", 1),
        ("pointwise_convs", "5x8", "2 x (5x16+5x2)", 1),
        ("PointwiseConv", "5x8", "5x12", 1), ("softmax", "5x12", "5x12", 1),
    ]  # fmt: skip
    compiled_one = which.backend in ("native", "cffi")
    assert [row.call.kernel.partition("_f32")[0] for row in found.rows] == (
        ["layer_norm", "pwconv", "pwconv", "pwconv", "softmax"] if compiled_one else [which.backend] * 5
    )
    for i, sample in enumerate(found.timed):
        parts = [row.samples[i].seconds for row in found.rows] + [found.other[i].seconds]
        assert min(parts) > 0 and math.fsum(parts) == pytest.approx(sample.seconds)
    rows = found.as_dicts(which, 1, "model", "float32", 5)
    assert [row["op"] for row in rows[:2]] == ["forward", "forward timed by op"] and rows[-1]["op"] == "other"


def test_the_time_of_a_row_is_of_the_fastest_passes_so_that_the_parts_add_up(monkeypatch):
    def samples(*times):
        return [Sample(time, 1, 1 if time != 99 else 2) for time in times]

    timed, other = samples(4, 2, 99, 3, 8, 9), samples(1, 0.5, 7, 1.5, 1, 1)
    found = forward.Profile([], other, timed, samples(2, 2, 2, 1.5, 99, 1))
    assert (found.seconds(timed), found.seconds(other), found.seconds(found.alone)) == (2.5, 1, 1.25)
    monkeypatch.setattr(forward, "PAIRS", 4)
    assert found.cost() == 1  # of the ratios 2, 1, 2, 9
    monkeypatch.setattr(forward, "PAIRS", 5)
    assert found.cost() is None  # of too few
    none = forward.Profile([], [], samples(99), samples(99))
    assert none.seconds(none.timed) is none.cost() is None


# ---- OpenBLAS --------------------------------------------------------------------------------------------------------


def test_openblas_gets_as_many_threads_as_are_measured():
    before = variants.blas_threads()
    if not before:  # NumPy has another BLAS
        return
    with using_threads(3):
        assert variants.blas_threads()[0][0] == 3
    assert variants.blas_threads()[0][0] == before[0][0]
