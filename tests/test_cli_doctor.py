"""squeezeops doctor: what info says, and a self-test."""

import json

import golden_bits
import pytest
from cli_helpers import caller, output

from squeezeops import ops
from squeezeops.benchmark import golden
from squeezeops.cli import doctor


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.01)
    return caller(capsys, monkeypatch)


def examined(call):
    status, out, err = call("doctor", "--json")
    assert err == ""
    return status, json.loads(out)


def test_its_bits_are_the_golden_bits():
    known = json.loads(golden_bits.FILE.read_text())
    assert {name: known[name][:16] for name in golden.BITS} == golden.BITS
    assert golden.cases().keys() == golden.BITS.keys()
    assert golden.wrong_cases() == []


def test_it_has_what_info_has(call):
    info = json.loads(output(call("info", "--json")))
    status, facts = examined(call)
    assert status == 0 and facts.items() >= info.items()
    assert facts["bits"] == {"checked": len(golden.BITS), "wrong": [], "skipped": None}
    assert facts["memory"]["total"] > 1e8
    assert [row["op"] for row in facts["speed"]] == list(doctor.SHARES)
    for row in facts["speed"]:
        assert 0 < row["expected"] < 10 and 0 < row["measured"] < 10 and row["slowest_peak"] <= row["peak"]
    lines = output(call("doctor")).splitlines()
    assert lines[: len(output(call("info")).splitlines())] == output(call("info")).splitlines()
    assert f"bits          {len(golden.BITS)} of {len(golden.BITS)} right" in lines
    assert sum(line.startswith("speed ") and " us measured (80% of " in line for line in lines) == 2


def test_wrong_bits(call, monkeypatch):
    monkeypatch.setitem(golden.BITS, "softmax/9x768", "0" * 16)
    status, facts = examined(call)
    assert status == 1 and facts["bits"]["wrong"] == ["softmax/9x768"]
    assert "wrong bits in softmax/9x768: please report it, with this output" in facts["advice"]
    assert call("doctor")[0] == 1


@pytest.mark.parametrize("slow", [True, False])
def test_a_slow_kernel(call, monkeypatch, slow):
    monkeypatch.setattr(doctor, "SHARES", {"pointwise_conv": 1000.0 if slow else 1e-6})
    found = [line for line in examined(call)[1]["advice"] if "times what is expected" in line]
    assert len(found) == slow and all(line.startswith("pointwise_conv takes ") for line in found)


def test_an_unsteady_machine(call, monkeypatch):
    monkeypatch.setattr(doctor, "UNSTEADY", 0.0)
    assert sum("the speed varies by a factor of " in line for line in examined(call)[1]["advice"]) == 1


def test_fewer_threads_than_cpus(call, monkeypatch):
    monkeypatch.setattr("squeezeops.benchmark.machine._cpus", lambda: 1000)
    for variable, reason in (("2", "SQUEEZEOPS_NUM_THREADS"), ("", "a CPU quota")):
        monkeypatch.setenv("SQUEEZEOPS_NUM_THREADS", variable)
        assert any(line.endswith(f"of 1000 CPUs are used, because of {reason}") for line in examined(call)[1]["advice"])


def test_backends_that_are_missing(call, monkeypatch):
    monkeypatch.setattr(ops, "available_backends", lambda: ("numpy",))
    facts = examined(call)[1]
    assert list(facts["install"]) == ["native", "cffi", "numba"]
    assert "to install    numba: pip install 'squeezeops[numba]'" in output(call("doctor")).splitlines()
    assert any(line.startswith("ops are slow without the backend native: install a wheel") for line in facts["advice"])


def test_a_backend_without_kernels(call):
    with ops.backend("numpy"):
        facts = examined(call)[1]
        assert facts["bits"] == {"checked": 0, "wrong": [], "skipped": "the backend numpy computes to a tolerance"}
        assert facts["speed"] == []
        assert "speed         not measured: it needs the backend native or cffi" in output(call("doctor"))
