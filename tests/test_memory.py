"""Memory that is freed goes back to the system."""

import platform
from pathlib import Path

import numpy as np
import pytest

from isthmus.memory import give_back


def resident():
    """Pages of this process in memory, as bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to")
def test_holes_between_what_stays_go_back():
    """Every second of many small arrays stays: what lies between them cannot be returned from the end."""
    kept = [np.ones(10_000) for _ in range(3000)]
    full = resident()
    del kept[1::2]
    give_back()
    assert resident() < full - 0.7 * 1500 * 80_000
    assert sum(float(a.sum()) for a in kept) == 1500 * 10_000


def test_without_such_a_library_nothing_happens(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    give_back()
