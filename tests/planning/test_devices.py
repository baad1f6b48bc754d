"""Devices: every one names its source, and a wrong name gets the nearest."""

from __future__ import annotations

import pytest

from unimm.planning.devices import device, devices


def test_published_peaks():
    assert device("h100").peak_tflops == pytest.approx(1979 / 2)
    assert device("a100").peak_tflops == 312
    assert device("h200").memory_gb == 141


@pytest.mark.parametrize("name", devices())
def test_every_device_names_a_source_with_its_number(name):
    entry = device(name)
    assert "BF16" in entry.source
    assert "dense" in entry.source


def test_the_nearest_name():
    with pytest.raises(ValueError, match=r"no device 'h10'; did you mean 'h100'\? choices: a100"):
        device("h10")


def test_the_command_names_every_device():
    from unimm.planning.cli import plan

    assert all(name in plan.__annotations__["device"] for name in devices())
