"""Time limits of the tests grow with the time that the machine needs."""

import re
from pathlib import Path

import limits
import pytest
from op_helpers import run_python

TESTS = Path(__file__).parent


@pytest.mark.parametrize(
    ("time", "load", "cores", "expected"),
    [(0.002, 0, 4, 4), (0.010, 2, 4, 4), (0.080, 2, 4, 32), (0.010, 16, 2, 8), (0.020, 4, 2, 8)],
)
def test_the_factor(monkeypatch, time, load, cores, expected):
    """Never below that of a load that may come later."""
    monkeypatch.setattr(limits, "work", lambda: time)
    monkeypatch.setattr(limits.os, "getloadavg", lambda: (load, load, load), raising=False)
    monkeypatch.setattr(limits.os, "cpu_count", lambda: cores)
    assert limits.measured() == pytest.approx(expected)


def test_an_environment_variable_overrides_it():
    done = run_python("-c", "import limits; print(limits.seconds(10))", SQUEEZEOPS_TEST_PATIENCE="2.5")
    assert done.stdout.strip() == "25.0", done.stderr
    assert limits.seconds(3) == 3 * limits.FACTOR >= 3


def test_every_limit_is_scaled():
    for path in [*TESTS.glob("*.py"), *TESTS.glob("arm/*.py")]:
        fixed = re.findall(r".*(?:timeout=|(?:wait|join|communicate|alarm)\()\d.*", path.read_text(encoding="utf-8"))
        assert path == Path(__file__) or not fixed, f"{path.name}: {fixed}"
