"""The comparison with other libraries (bench/): how samples become figures, and figures verdicts.

These tests need no other library and time nothing.
"""

import copy
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last, so that only bench/ is imported from here

from bench import compare, executed, model, pairs, report, running, targets, worker  # noqa: E402
from bench.cases import (  # noqa: E402
    Forward,
    fields_of,
    forward_cases,
    lengths_of,
    one_by_one,
    op_cases,
    padded,
    parse_forward,
)
from squeezeops.benchmark.measure import Sample  # noqa: E402

HEADER = "batch,tokens,threads,task,against,quick,dtype,isa"


def sample(seconds, peak=100.0, after=None):
    return Sample(seconds, peak, peak if after is None else after)


# --- pairs


def test_ratios_are_those_of_accepted_pairs():
    ours = [sample(1), sample(1, 100, 80), sample(1), sample(2)]
    peer = [sample(3), sample(9), sample(9, 100, 120), sample(8)]
    assert pairs.ratio(ours, peer) == ((3.25, 3.5, 3.75), 2, 0.5)
    # The machine is half as fast in every other round, so that a ratio of medians would not be 2 throughout.
    seconds = (1, 2, 1, 2, 2)
    assert pairs.ratio([sample(s) for s in seconds], [sample(2 * s) for s in seconds]).quartiles == (2, 2, 2)
    assert pairs.ratio([sample(1, 100, 50)], [sample(1)]) == (None, 0, 1.0)
    assert pairs.ratio([], []) == (None, 0, 0.0)


def takers(order, bad=()):
    """Return takers that note their names. The samples of "a" numbered in `bad`, from 0, are dropped."""
    count = itertools.count()

    def make(name):
        def take():
            order.append(name)
            dropped = name == "a" and next(count) in bad
            return sample(1, 100, 50 if dropped else 100)

        return take

    return {name: make(name) for name in "abc"}


def test_the_order_of_turns_rotates():
    order = []
    pairs.take_rounds(takers(order), "a", 4, between=lambda: order.append("-"))
    assert "".join(order) == "-abc-bca-cab-abc"


@pytest.mark.parametrize(
    ("wanted", "bad", "limit", "rounds"),
    [
        (4, (), 1e9, 4),
        (4, (0, 2), 1e9, 6),  # until there are enough pairs
        (4, range(1000), 1e9, 8),  # where no sample is ever accepted
        (100, (), 3, 4),  # after a time
        (100, (), -1, 1),  # but not before the first
    ],
)
def test_rounds_end(wanted, bad, limit, rounds):
    clock = itertools.count()
    taken = pairs.take_rounds(takers([], bad), "a", wanted, limit, clock=lambda: next(clock))
    assert {name: len(samples) for name, samples in taken.items()} == dict.fromkeys("abc", rounds)


def test_alone_a_library_gives_as_many_samples_as_are_wanted():
    count = itertools.count()
    taken = pairs.take_rounds({"a": lambda: sample(1, 100, 50 if next(count) == 0 else 100)}, "a", 3)
    assert len(taken["a"]) == 4


@pytest.mark.parametrize(
    ("read", "expected"),
    [(1000, 4.0), (10, 2.0)],  # 0.5 s of operations against 0.02 s and 1 s of reading
)
def test_the_floor_is_the_longer_of_reading_and_computing(read, expected):
    assert (
        pairs.over_floor([sample(2, 100)], work=50, moved=10 * 2 if read == 1000 else 10, read=read).median == expected
    )


# --- the model and its inputs


def test_operations_and_bytes_of_the_model():
    """7.4 GFLOP at 128 tokens, and 106 MB of weights."""
    assert model.flops([128]) == pytest.approx(7.40e9, rel=0.002)
    assert model.flops([128, 16]) == model.flops([128]) + model.flops([16])
    assert model.weight_bytes() == pytest.approx(106e6, rel=0.01)


def test_bytes_by_dtype():
    """Half and a quarter, plus scales and what stays in float32."""
    whole, half, quarter = (model.weight_bytes(dtype) for dtype in ("float32", "float16", "int8"))
    assert whole == model.weight_bytes()
    assert half == pytest.approx(whole / 2, rel=0.01) and half > whole / 2
    assert quarter == pytest.approx(whole / 4, rel=0.03) and quarter > whole / 4


def test_lengths():
    assert lengths_of(3, "128") == [128] * 3
    lengths = lengths_of(32, "8-128")
    assert lengths == lengths_of(32, "8-128")
    assert 8 <= min(lengths) < 24 and 112 < max(lengths) <= 128


@pytest.mark.parametrize("tokens", ["", "-", "8-", "x", "0", "513", "9-8", "-1", "8-600", "1.5"])
def test_lengths_that_are_none(tokens):
    with pytest.raises(ValueError, match="tokens: expected"):
        lengths_of(2, tokens)


def test_padded_texts_are_those_taken_one_by_one():
    ids, mask = padded([3, 5])
    texts = one_by_one([3, 5])
    assert mask.sum(axis=1).tolist() == [3, 5]
    for row, text in enumerate(texts):
        assert text.mask is None
        np.testing.assert_array_equal(ids[row, : len(text.ids[0])], text.ids[0])
    assert padded([4, 4]).mask is None


def test_rows_of_padded_texts_are_those_of_single_ones():
    lengths = [2, 4]
    batch, texts = [padded(lengths)], one_by_one(lengths)
    y = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    alone = [y[:1, :2], y[1:]]
    np.testing.assert_array_equal(running.rows_of([y], batch, "base"), running.rows_of(alone, texts, "base"))


# --- files of shapes


def test_the_cases_that_targets_ask_for_are_measured():
    """Each combination of each target is a case, and a quick run has cases for each number of threads."""
    cases = {"forward": forward_cases(), "ops": op_cases()}
    rows = {"libraries": {"squeezeops": {}}, "ratios": {}}
    empty = {table: [{**rows, "case": case.fields()} for case in found] for table, found in cases.items()}
    assert not [line for line in targets.check(empty, targets.read_targets(), "") if line.note == "not measured"]
    assert {case.threads for case in forward_cases() if case.quick} == {1, 2}


def test_cases_are_read():
    lines = ["32,8-128,2,base,each,3", "1,8,1,base,,0,,", "1,8,1,base,padded,3,int8,", "1,8,1,base,,0,float16,avx2"]
    cases = parse_forward([HEADER, *lines])
    assert cases == [
        Forward(32, "8-128", 2, "base", "each", 3),
        Forward(1, "8", 1, "base", "", 0),
        Forward(1, "8", 1, "base", "padded", 3, "int8"),
        Forward(1, "8", 1, "base", "", 0, "float16", "avx2"),
    ]
    assert [case.describe() for case in cases] == [
        "base 32 x 8-128, 2 threads, peers one by one",
        "base 1 x 8, 1 thread, alone",
        "base 1 x 8, 1 thread, int8",
        "base 1 x 8, 1 thread, float16 on avx2",
    ]


def test_rows_of_results_have_a_dtype_where_it_is_not_float32():
    plain = Forward(1, "8", 1, "base", "padded", 3)
    assert plain.fields() == {"batch": 1, "tokens": "8", "threads": 1, "task": "base", "against": "padded", "quick": 3}
    assert plain._replace(dtype="int8", isa="avx2").fields() == {**plain.fields(), "dtype": "int8", "isa": "avx2"}
    for case in (plain, plain._replace(dtype="float16"), plain._replace(dtype="int8", isa="avx2")):
        assert fields_of({"case": case.fields()}) == case._asdict()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER + ",more", "1,8,1,base,,0,1"], "line 1: expected columns batch"),
        ([HEADER.replace("batch,", ""), "8,1,base,,0"], "line 1: expected columns batch"),
        ([HEADER, "1,8,1,base,,0", "one,8,1,base,,0"], "line 3: .*'one'"),
        ([HEADER, "1,8"], "line 2: "),
        ([HEADER, "0,8,1,base,,0"], "line 2: batch: expected at least 1, got 0"),
        ([HEADER, "1,8,0,base,,0"], "line 2: threads: expected at least 1"),
        ([HEADER, "1,8,1,base,,-1"], "line 2: quick: expected at least 0"),
        ([HEADER, "1,8,1,bass,,0"], "line 2: task: expected one of 'base'.*got 'bass'"),
        ([HEADER, "1,8,1,base,alone,0"], "line 2: against: expected one of"),
        ([HEADER, "1,8,1,base,,0,int4,"], "line 2: dtype: expected one of 'float32'.*got 'int4'"),
        ([HEADER, "1,8,1,base,,0,int8,sse"], "line 2: isa: expected one of '', 'avx2', got 'sse'"),
        ([HEADER, "1,8,1,base,,0,float32,avx2"], "line 2: isa: .* got 'avx2'"),
        ([HEADER, "1,8,1,base,padded,0,int8,avx2"], "line 2: isa: .* got 'avx2'"),
        ([HEADER, "1,8,1,base,,0,,", "1,8,1,base,,0,float32,"], "line 3: expected each case once"),
        ([HEADER, "1,600,1,base,,0"], "line 2: tokens: expected lengths from 1 to 512"),
        ([HEADER, "1,8,1,base,,0", "1,8,1,base,,0"], "line 3: expected each case once"),
    ],
)
def test_a_file_of_cases_that_is_wrong(lines, message):
    with pytest.raises(ValueError, match=message):
        parse_forward(lines)


# --- targets


MACHINE = "amd-epyc-zen5-2cpu"
RECORDED = ROOT / "bench" / "results" / f"compare-{MACHINE}.json"
COLUMNS = "target,table,where,figure,relation,limit,machine"


@pytest.fixture
def results():
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def judged(results):
    return [line for line in targets.check(results, targets.read_targets(), MACHINE) if not line.elsewhere]


def row_of(results, table, **wanted):
    (row,) = [row for row in results[table] if wanted.items() <= fields_of(row).items()]
    return row


def scaled(results, factor):
    """All figures better by a factor."""
    for row in results["forward"] + results["ops"]:
        for found in row["ratios"].values():
            if found["quartiles"]:
                found["quartiles"]["median"] *= factor
        for name, value in row["libraries"]["squeezeops"].items():
            times = 1 / factor if name.startswith("over") else factor
            if name in ("gigaelements", "over_traffic"):
                row["libraries"]["squeezeops"][name] = value * times
            elif isinstance(value, dict):
                row["libraries"]["squeezeops"][name] = {quartile: v * times for quartile, v in value.items()}
    return results


def test_every_target_can_be_reached_and_missed(results):
    lines = judged(results)
    assert (sum(line.fine for line in lines), len(lines)) == (50, 69)
    own = {target.name for target in targets.read_targets() if target.machine == MACHINE}
    assert {line.target.name for line in lines} == own
    assert all(line.fine for line in judged(scaled(copy.deepcopy(results), 10)))
    assert not any(line.fine for line in judged(scaled(copy.deepcopy(results), 1 / 10)))


def changed(before, after):
    """The lines whose verdict differs."""
    return [new for old, new in zip(judged(before), judged(after), strict=True) if old.fine != new.fine]


def test_what_is_not_there_has_missed_its_target(results):
    less = {**results, "ops": [row for row in results["ops"] if row["case"]["op"] != "gelu"]}
    (line,) = changed(results, less)
    assert (line.note, line.reached) == ("not measured", None)
    less = copy.deepcopy(results)
    for row in less["forward"]:
        row["best"] = None
    assert {line.note for line in changed(results, less)} == {"no pair with a peer"}


def test_shares_are_judged_at_p75(results):
    other = copy.deepcopy(results)
    row = row_of(other, "ops", op="attention", tokens=128)
    row["libraries"]["squeezeops"]["share"] = {"p25": 0.9, "median": 0.9, "p75": 0.6}
    assert [(line.target.name, line.reached) for line in changed(results, other)] == [("attention alone", 0.6)]


def test_where_the_read_bandwidth_allows_no_more_the_ratio_is_not_judged(results):
    other = copy.deepcopy(results)
    row = row_of(other, "forward", batch=1, tokens="16", threads=1, dtype="float32", against="padded", task="base")
    row["ratios"][row["best"]]["quartiles"]["median"] = 1.1
    row["libraries"]["squeezeops"]["over_traffic"] = 1.1  # the peer is at 1.21 of the floor: 1.25 is out of reach
    assert changed(results, other) == []
    row["libraries"]["squeezeops"]["over_traffic"] = 1.2  # at 1.32
    assert [line.target.figure for line in changed(results, other)] == ["ratio_or_traffic"]


def forward_row(ratios, **case):
    """Return a row of results with median ratios only."""
    found = {name.replace("_", "-"): {"quartiles": {"median": median}} for name, median in ratios.items()}
    return {"case": case, "libraries": {"squeezeops": {}}, "ratios": found, "best": pairs.best_peer(found)}


def reached(line, *rows):
    parsed = targets.parse_targets([COLUMNS, f"{line},mine"])
    return [(found.reached, found.note) for found in targets.check({"forward": list(rows)}, parsed, "mine")]


def test_targets_of_a_dtype_are_about_its_rows_alone():
    """A row without a dtype, as in older files, is in float32."""
    rows = (
        forward_row({"torch": 1.1}, tokens="8"),
        forward_row({"torch": 1.2}, tokens="16", dtype="float32"),
        forward_row({"torch": 3.0}, tokens="8", dtype="int8"),
        forward_row({"squeezeops_float32": 4.0}, tokens="8", dtype="int8", isa="avx2"),
    )
    assert reached("a,forward,tokens=8,ratio,>=,1", *rows) == [(1.1, "against torch")]
    assert reached("a,forward,tokens=16 dtype=float32,ratio,>=,1", *rows) == [(1.2, "against torch")]
    assert reached("a,forward,tokens=8 dtype=int8,ratio,>=,1", *rows) == [(3.0, "against torch")]
    line = "a,forward,tokens=8 dtype=int8 isa=avx2,ratio:squeezeops-float32,>=,1"
    assert reached(line, *rows) == [(4.0, "against squeezeops-float32")]
    assert reached("a,forward,tokens=16 dtype=int8,ratio,>=,1", *rows) == [(None, "not measured")]


def test_the_best_peer_in_float32_is_one_of_those_that_run_in_it():
    ratios = {"squeezeops_float32": 2.0, "openvino_int8": 1.5, "torch": 4.0, "openvino": 3.0}
    row = forward_row(ratios, tokens="8", dtype="int8")
    assert reached("a,forward,tokens=8 dtype=int8,ratio_float32,>=,3.5", row) == [(3.0, "against openvino")]
    assert reached("a,forward,tokens=8 dtype=int8,ratio,>=,1", row) == [(1.5, "against openvino-int8")]
    row = forward_row({"openvino_int8": 1.5}, tokens="8", dtype="int8")
    assert reached("a,forward,tokens=8 dtype=int8,ratio_float32,>=,1", row) == [(None, "no pair with a peer")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,forward,tokens=1,ratio,>=,much,mine", "line 2: .*'much'"),
        ("a,forward,tokens=1,ratio,>,1,mine", "line 2: relation: expected one of >=, <=, got '>'"),
        ("a,backward,tokens=1,ratio,>=,1,mine", "line 2: table: expected forward or ops"),
        ("a,ops,tokens=1,speed,>=,1,mine", "line 2: figure: expected one of"),
        ("a,ops,tokens=1,ratio,>=,1,", "line 2: machine: expected one, got none"),
        ("a,ops,tokens=1,ratio,>=,1", "line 2: machine: expected one, got none"),
        ("a,ops,tokens,ratio,>=,1,mine", "line 2: "),
        ("a,ops,tokens=1", "line 2: "),
    ],
)
def test_a_file_of_targets_that_is_wrong(line, message):
    with pytest.raises(ValueError, match=message):
        targets.parse_targets([COLUMNS, line])


def test_targets_of_another_machine_are_shown_and_not_judged(results, tmp_path, capsys):
    lines = targets.check(results, targets.read_targets(), "mine")
    assert all(line.elsewhere for line in lines) and len(lines) > len(judged(results))
    assert {line.elsewhere for line in targets.check(results, targets.read_targets(), MACHINE)} == {False, True}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(scaled(results, 1 / 10)), encoding="utf-8")
    assert compare.main(["--check", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("another machine") == len(lines) and "0 of 0 targets of this machine reached" in printed
    assert printed.count(MACHINE) == len(judged(results)) and "MISSED" not in printed


def test_every_machine_with_targets_is_recorded():
    for machine in {target.machine for target in targets.read_targets()}:
        path = ROOT / "bench" / "results" / f"compare-{machine}.json"
        assert targets.machine_of(path) == machine
        lines = targets.check(compare.read_file(path), targets.read_targets(), machine)
        assert not [line for line in lines if not line.elsewhere and line.note == "not measured"]


def test_the_command_checks_a_file(results, tmp_path, capsys):
    assert compare.main(["--check", str(RECORDED)]) == 1
    printed = capsys.readouterr().out
    assert printed.count("MISSED") == 19 and printed.count(" ok") == 50
    assert "50 of 69 targets of this machine reached" in printed
    file = tmp_path / RECORDED.name
    file.write_text(json.dumps(scaled(results, 10)), encoding="utf-8")
    assert compare.main(["--check", str(file)]) == 0
    assert "MISSED" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--check", "--merge --json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "No such file"), ("{", "expected JSON, got: "), ("[]", "expected results of bench.compare, got something")],
)
def test_a_results_file_that_is_none(tmp_path, capsys, monkeypatch, option, text, message):
    file = tmp_path / "results.json"
    monkeypatch.setattr(compare, "measure", lambda *_: iter(()))
    if text is not None:
        file.write_text(text)
    wrong = text is not None or option == "--check"  # a file to merge with may not be there yet
    assert compare.main([*option.split(), str(file)]) == (2 if wrong else 0)
    printed = capsys.readouterr().err
    assert printed.count("\n") == int(wrong) and (message in printed) == wrong and (str(file) in printed) == wrong


# --- agreement


def test_results_agree_or_the_run_ends():
    y = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    assert running.agree("case", "peer", y, y + np.float32(5e-5)) == pytest.approx(5e-5, rel=0.01)
    assert running.largest_difference(100 * y, 100 * y + np.float32(0.005)) == pytest.approx(5e-5, rel=0.01)
    for wrong in (y + np.float32(2e-4), y[:2], np.full_like(y, np.nan)):
        with pytest.raises(running.Disagreement, match="case: peer differs from squeezeops by"):
            running.agree("case", "peer", y, wrong)


class FakeWorker:
    """A library with results of 1, off by `error` in one element per row, whose forms take `seconds`."""

    def __init__(self, seconds, error=0.0):
        self.seconds, self.error, self.kept, self.given, self.peaks = seconds, error, [], [], set()

    def ask(self, method, *arguments):
        return getattr(self, method)(*arguments)

    def forms(self, tokens, lengths):
        return tuple(self.seconds)

    def forward(self, form, task, inputs):
        self.given.append(form)
        results = [np.ones((*item.ids.shape, 4), np.float32) for item in inputs]
        for result in results:
            result[..., 0] += np.float32(self.error)
        return worker.Prepared(results, 0.5, self.seconds[form])

    def sample(self, key, calls, warm, pause, int8):
        self.peaks.add(int8)
        return tuple(sample(self.seconds[key[1]], peak=1e12))

    def keep(self, key):
        self.kept.append(key)

    def read_peak(self):
        return 1e9

    def precision(self):
        return "bf16"


@pytest.fixture
def libraries():
    libraries = running.Libraries([], 1)
    libraries.workers = {
        "squeezeops": FakeWorker({"ragged": 0.01}),
        "torch": FakeWorker({"slow": 0.03, "fast": 0.02}),
    }
    return libraries


CASE = Forward(2, "3", 1, "base", "padded", 0)


@pytest.mark.parametrize(("choose", "form", "ratio"), [(True, "fast", 2), (False, "slow", 3)])
def test_a_peer_is_measured_in_its_fastest_form_but_in_a_quick_run_in_its_first(libraries, choose, form, ratio):
    row = running.run_forward(libraries, CASE, pairs=3, limit=10, choose=choose)
    assert row["libraries"]["torch"]["form"] == form
    assert row["ratios"]["torch"]["quartiles"]["median"] == ratio
    assert row["best"] == "torch"
    assert libraries.workers["torch"].kept == [("forward", form), None]


def test_figures_of_a_forward(libraries):
    row = running.run_forward(libraries, CASE, pairs=3, limit=10, choose=True)
    ours = row["libraries"]["squeezeops"]
    assert ours["seconds"]["median"] == 0.01
    assert ours["share"]["median"] == pytest.approx(model.flops([3, 3]) / 0.01 / 1e12)
    assert ours["over_traffic"] == pytest.approx(0.01 / (model.weight_bytes() / 1e9))
    assert ours["over_floor"]["median"] == pytest.approx(ours["over_traffic"])
    assert json.loads(json.dumps(row)) == row


def test_nothing_is_timed_of_a_peer_that_disagrees(libraries, monkeypatch):
    libraries.workers["torch"].error = 0.01
    monkeypatch.setattr(FakeWorker, "sample", lambda *_: pytest.fail("timed"))
    with pytest.raises(running.Disagreement, match="torch differs from squeezeops by 0.01"):
        running.run_forward(libraries, CASE, pairs=3, limit=10, choose=True)


def test_our_own_kernels_and_copies_are_no_peers():
    medians = {"memcpy": 0.1, "avx2": 0.5, "squeezeops-float32": 0.6, "torch": 2.0}
    ratios = {name: {"quartiles": {"median": m}} for name, m in medians.items()}
    assert pairs.best_peer({**ratios, "numpy": {"quartiles": None}}) == "torch"
    assert pairs.best_peer({}) is None


# --- int8 and float16


def test_a_library_in_its_own_precision_has_a_row_but_is_not_the_best_peer(libraries):
    fast = libraries.workers["openvino-default"] = FakeWorker({"only": 0.005}, error=0.01)
    row = running.run_forward(libraries, CASE, pairs=3, limit=10, choose=True)
    found = row["libraries"]["openvino-default"]
    assert row["best"] == "torch" and row["ratios"]["openvino-default"]["quartiles"]["median"] == 0.5
    assert (found["dtype"], found["precision"], fast.peaks) == ("default", "bf16", {False})
    assert 0.99 < found["cosine"]["worst"] < 1 and "of_read" not in found
    table = report.forward_table([row])
    assert "openvino-default (bf16)" in table and f"{found['cosine']['worst']:.5f}" in table
    fast.error = -9
    with pytest.raises(running.Disagreement, match="openvino-default: cosine with float32 .*, less than 0.9"):
        running.run_forward(libraries, CASE, pairs=3, limit=10, choose=True)


@pytest.fixture
def rounded():
    libraries = running.Libraries([], 1)
    libraries.workers = {
        "squeezeops": FakeWorker({"ragged-int8": 0.01, "ragged-float16": 0.02}, 0.25),
        "squeezeops-float32": FakeWorker({"ragged": 0.04}),
        "torch": FakeWorker({"conv": 0.05}, 1e-6),
        "openvino-int8": FakeWorker({"slow": 0.03, "fast": 0.02}, 0.5),
    }
    return libraries


INT8 = CASE._replace(dtype="int8")


def test_a_row_in_int8(rounded):
    row = running.run_forward(rounded, INT8, pairs=3, limit=10, choose=True)
    assert row["case"] == {**CASE.fields(), "dtype": "int8"}
    assert row["bytes"] == model.weight_bytes("int8")
    peaks = {name: made.peaks for name, made in rounded.workers.items()}  # of int8 products
    assert peaks == {"squeezeops": {True}, "squeezeops-float32": {False}, "torch": {False}, "openvino-int8": {True}}
    medians = {name: found["quartiles"]["median"] for name, found in row["ratios"].items()}
    assert medians == pytest.approx({"squeezeops-float32": 4, "torch": 5, "openvino-int8": 2})
    assert row["best"] == "openvino-int8"
    assert next(iter(row["libraries"])) == "squeezeops"
    ours, theirs = row["libraries"]["squeezeops"], row["libraries"]["openvino-int8"]
    assert (ours["dtype"], theirs["dtype"], theirs["form"]) == ("int8", "int8", "fast")
    assert "dtype" not in row["libraries"]["torch"]
    # Off by 0.25 where the rest is 1: (3 + 1.25) / sqrt(4 (3 + 1.25^2)).
    assert ours["difference"] == pytest.approx(0.25)
    assert ours["cosine"] == pytest.approx(dict.fromkeys(("mean", "worst"), 4.25 / np.sqrt(4 * (3 + 1.25**2))))
    assert theirs["cosine"]["worst"] < ours["cosine"]["worst"]
    assert row["libraries"]["torch"]["difference"] == pytest.approx(1e-6, rel=0.1)
    assert "cosine" not in row["libraries"]["torch"]
    assert json.loads(json.dumps(row)) == row
    table = report.forward_table([row])
    assert "2 x 3, 1 thread, int8 " in table
    assert f"{ours['cosine']['worst']:.5f}" in table


def test_a_row_on_an_instruction_set_has_no_peers(rounded):
    row = running.run_forward(rounded, INT8._replace(against="", isa="avx2"), pairs=3, limit=10, choose=True)
    assert list(row["libraries"]) == ["squeezeops", "squeezeops-float32"]
    assert row["case"]["isa"] == "avx2"


def test_a_row_in_float16(rounded):
    rounded.workers["squeezeops"].error = 1e-3
    del rounded.workers["openvino-int8"]
    row = running.run_forward(rounded, CASE._replace(dtype="float16"), pairs=3, limit=10, choose=True)
    assert rounded.workers["squeezeops"].given == ["ragged-float16"]
    assert rounded.workers["squeezeops"].peaks == {False}
    assert row["bytes"] == model.weight_bytes("float16")


@pytest.mark.parametrize(
    ("name", "error", "dtype", "message"),
    [
        ("squeezeops", 9, "int8", "squeezeops: cosine with float32 0.64, less than 0.9"),
        ("squeezeops", float("nan"), "int8", "squeezeops: cosine with float32 nan"),
        ("squeezeops", 0.25, "float16", "squeezeops: cosine with float32 0.995, less than 0.999"),
        ("openvino-int8", -9, "int8", "openvino-int8: cosine"),
        ("torch", 1e-3, "int8", "torch differs from squeezeops by 0.001"),
    ],
)
def test_results_that_are_no_rounding_of_those_in_float32(rounded, monkeypatch, name, error, dtype, message):
    rounded.workers[name].error = error
    monkeypatch.setattr(FakeWorker, "sample", lambda self, key, *_: sample(self.seconds[key[1]]))
    with pytest.raises(running.Disagreement, match=message):
        running.run_forward(rounded, CASE._replace(dtype=dtype), pairs=3, limit=10, choose=True)


def test_cosines_of_rows():
    x = np.array([[1, 0], [0, 2], [1, 1]], np.float32)
    y = np.array([[2, 0], [0, 2], [1, 0]], np.float32)
    assert running.cosines(x, y) == pytest.approx({"mean": (2 + 0.5**0.5) / 3, "worst": 0.5**0.5})
    assert running.cosines(x, y[:2])["worst"] != running.cosines(x, y[:2])["worst"]


def test_the_libraries_for_a_dtype():
    peers = ["torch", "onnxruntime", "openvino", "openvino-default"]
    everything = [*peers, "onnxruntime-int8", "openvino-int8", "numpy"]
    assert compare.libraries_for("float32", "", everything) == ["squeezeops", *peers]
    assert compare.libraries_for("float16", "", ["torch"]) == ["squeezeops", "squeezeops-float32", "torch"]
    assert compare.libraries_for("int8", "", everything) == ["squeezeops", "squeezeops-float32", *everything[:-1]]
    assert compare.libraries_for("int8", "avx2", everything) == ["squeezeops", "squeezeops-float32"]


class Text:
    def __init__(self, said):
        self.astype = lambda _: said


class Compiled:
    """Mimics a compiled model of OpenVINO."""

    def __init__(self, *nodes):
        self.nodes = nodes

    def get_runtime_model(self):
        return self

    def get_ops(self):
        return [Compiled(node) for node in self.nodes]

    def get_rt_info(self):
        (node,) = self.nodes
        return dict(zip(("layerType", "runtimePrecision"), map(Text, node), strict=True))


def test_what_is_executed_tells_whether_it_is_int8():
    compiled = Compiled(("Convolution", "U8"), ("FullyConnected", "i8"), ("MatMul", "f32"), ("Reorder", "u8"))
    executed.check_int8(compiled, 2)
    with pytest.raises(RuntimeError, match="expected 3 products in int8, got 2; MatMul in f32"):
        executed.check_int8(compiled, 3)
    assert executed.executed(compiled)[1:] == [("FullyConnected", "i8"), ("MatMul", "f32")]  # of products alone


# --- the worker


FAKE = """
import os, sys
sys.path.append(sys.argv[1])
from bench.worker import serve

class Host:
    def add(self, a, b): return a + b
    def arguments(self): return sys.argv[2:], os.environ["OMP_NUM_THREADS"]
    def isa(self): return os.environ.get("SQUEEZEOPS_ISA")
    def absent(self): raise ModuleNotFoundError("No module named 'peer'")
    def wrong(self): raise ValueError("this is wrong")
    def die(self): os._exit(3)

serve(Host(), sys.stdin.buffer, sys.stdout.buffer)
"""


@pytest.fixture
def fake():
    made = worker.Worker("peer", 2, [0, 1], command=[sys.executable, "-c", FAKE, str(ROOT)])
    yield made
    made.close()


def test_a_worker_answers_tells_what_failed_and_goes_on(fake):
    assert fake.ask("add", 2, 3) == 5
    np.testing.assert_array_equal(fake.ask("add", np.arange(3), 1), [1, 2, 3])
    assert fake.ask("arguments") == (["peer", "2", "0", "1"], "2")
    with pytest.raises(worker.WorkerError, match="(?s)peer: wrong failed:.*ValueError: this is wrong"):
        fake.ask("wrong")
    with pytest.raises(worker.Missing, match="peer: No module named 'peer'"):
        fake.ask("absent")
    with pytest.raises(worker.WorkerError, match="AttributeError"):
        fake.ask("unknown")
    assert fake.ask("add", 1, 1) == 2
    fake.close()
    assert fake.process.returncode == 0


def test_a_worker_that_ends_is_noticed(fake):
    with pytest.raises(worker.WorkerError, match="peer: its process ended with status 3 in die"):
        fake.ask("die")
    fake.close()
    assert fake.process.returncode == 3


def test_a_worker_may_be_held_to_an_instruction_set(monkeypatch):
    monkeypatch.delenv("SQUEEZEOPS_ISA", raising=False)
    for isa in ("", "avx2"):
        made = worker.Worker("peer", 1, [], command=[sys.executable, "-c", FAKE, str(ROOT)], isa=isa)
        assert made.ask("isa") == (isa or None)
        made.close()


def test_a_library_that_is_missing_is_left_out(monkeypatch):
    class Absent:
        def __init__(self, name, threads, cpus, isa):
            self.name = name

        def ask(self, method):
            if self.name == "torch":
                raise worker.Missing("torch: no module")
            return "1.0"

        def close(self):
            pass

    monkeypatch.setattr(running, "Worker", Absent)
    libraries = running.Libraries(["squeezeops", "torch", "openvino"], 1)
    assert libraries.peers() == ["openvino"]
    assert libraries.missing == {"torch": "torch: no module"}
    assert libraries.versions == {"squeezeops": "1.0", "openvino": "1.0"}


def test_pools_that_spin_are_waited_for_but_not_without_end():
    spent = iter([0.0, 0.02, 0.02, 0.035, 0.035, 0.036])  # before and after each step
    slept = []
    assert worker.settle(0.02, cpu=lambda: next(spent), sleep=slept.append) == pytest.approx(0.06)
    assert slept == [0.02] * 3
    clock = itertools.count()
    assert worker.settle(0.02, cpu=lambda: next(clock), sleep=lambda _: None) < 0.35
    assert worker.settle(0.0, sleep=lambda _: pytest.fail("slept")) == 0  # one thread


# --- results files


def test_a_merged_file_has_the_new_rows_and_the_old_ones_that_were_not_measured():
    """A row without a dtype, as in older files, is in float32."""

    def results(**values):
        rows = {
            "other": {"tokens": "9"},
            "old": {"tokens": "8"},
            "said": {"tokens": "8", "dtype": "float32", "isa": ""},
            "int8": {"tokens": "8", "dtype": "int8"},
            "avx2": {"tokens": "8", "dtype": "int8", "isa": "avx2"},
        }
        made = [{"case": {**rows[name], "quick": value}, "flops": value} for name, value in values.items()]
        return {"versions": {}, "forward": made, "ops": [], "footprint": {}}

    for old, new, expected in [
        ({"other": 1, "old": 2}, {"old": 3}, [1, 3]),
        ({"old": 1}, {"int8": 2, "avx2": 3}, [1, 2, 3]),
        ({"old": 1, "int8": 2, "avx2": 3}, {"old": 4}, [4, 2, 3]),
        ({"old": 1, "int8": 2}, {"said": 5}, [5, 2]),
        ({"said": 1}, {"old": 6, "int8": 7}, [6, 7]),
    ]:
        merged = compare.merge(results(**old), results(**new))
        assert [row["flops"] for row in merged["forward"]] == expected


def test_results_are_saved_row_by_row(tmp_path, monkeypatch):
    """A run that is interrupted, or ends by an error, loses no row; what it did not measure stays in a merged file."""
    file = tmp_path / "all.json"
    kept = {"case": {"tokens": "9"}, "flops": 1}
    file.write_text(json.dumps({"forward": [kept], "ops": [], "versions": {"torch": "1"}}))

    def rows(given, peers, versions):
        versions["openvino"] = "2"
        yield {"case": {"tokens": "8"}, "flops": 2}
        assert 2 in [row["flops"] for row in json.loads(file.read_text())["forward"]]
        raise stop

    monkeypatch.setattr(compare, "measure_forward", rows)
    arguments = ["--tables", "forward", "--json", str(file), "--merge"]
    stop = KeyboardInterrupt()
    assert compare.main(arguments) == 130
    assert [row["flops"] for row in json.loads(file.read_text())["forward"]] == [1, 2]
    stop = worker.WorkerError("torch: its process ended")
    with pytest.raises(worker.WorkerError):
        compare.main(arguments[:-1])
    found = json.loads(file.read_text())
    assert ([row["flops"] for row in found["forward"]], found["versions"]) == ([2], {"openvino": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


def test_figures_in_files_have_four_digits():
    assert compare.rounded({"a": [1.234567, 7], "b": "x", "c": None}) == {"a": [1.235, 7], "b": "x", "c": None}


@pytest.mark.parametrize(("option", "value"), [("--peers", "torch,tensorflow"), ("--tables", "forward,backward")])
def test_unknown_words_are_refused(option, value, capsys):
    with pytest.raises(SystemExit) as stop:
        compare.main([option, value])
    assert stop.value.code == 2
    assert f"{option}: expected names among" in capsys.readouterr().err


# --- the package that is measured

WHERE = "import bench.compare, squeezeops; print(squeezeops.__file__)"
LEFT_OUT = "*.so*", "models", "results", "__pycache__"  # to the last, other processes write


@pytest.mark.parametrize("built", [False, True])
def test_sources_that_are_not_built_do_not_hide_the_installed_package(tmp_path, built):
    for folder in ("bench", "squeezeops"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    if built:
        (tmp_path / "squeezeops" / "libsqueezeops.so.0").touch()
    command = [sys.executable, "-c", WHERE]  # puts the current folder first in the path, as -m does
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (str(tmp_path) in done.stdout) == built
