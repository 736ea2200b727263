"""The benchmarks: shapes, cases, variants, and how samples become figures. No test depends on the machine's speed."""

import sys
import threading

import numpy as np
import pytest
from op_helpers import ALL_ISAS, native

from squeezeops import ops
from squeezeops.benchmark import cases, measure
from squeezeops.benchmark.cases import OPS, describe, op_of, parse
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
        first = np.array(case.call())
        assert first.size and np.isfinite(first).all()
        np.testing.assert_array_equal(np.array(case.call()), first)
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
        ("read", [MEMORY.astype(float), [1.0], None], TypeError, "x: expected an array of float32"),
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
    result = measure.Result(op, small(op), False, 1, Variant("numpy"), "numpy", op.make(**small(op)), figures)
    found = result.as_dict()["figures"]
    assert {name: value["median"] for name, value in found.items() if isinstance(value, dict)} == {
        "microseconds": 5e5, "rate": 2, "share": 0.5,
    }  # fmt: skip
    assert (found["samples"], found["accepted"], found["peak"]) == (1, 1, 4)
