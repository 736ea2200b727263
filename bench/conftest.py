"""Adds the machine to the figures of pytest-benchmark."""

import pytest

from squeezeops.benchmark.machine import describe_machine


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["squeezeops"] = describe_machine()
