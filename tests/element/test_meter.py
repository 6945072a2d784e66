"""A unit's cost counts its children, also those that run side by side."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from hpc_curate.element.meter import Meter


def printed(script: str) -> float:
    """By a process of its own: what the kernel remembers is of a whole life, and other tests make this one large."""
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    return float(done.stdout)


def test_children_side_by_side_count_together() -> None:
    together = """
import subprocess, sys, time
from hpc_curate.element.meter import Meter
hold = "held = bytearray(b'x' * 100_000_000); print(flush=True); input()"
with Meter() as meter:
    alone = meter.read().memory_gb
    children = [subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1) for _ in range(3)]
    for child in children:
        child.stdout.readline()
    while meter.read().memory_gb <= alone + 0.3:  # until it has looked
        time.sleep(0.1)
    for child in children:
        child.communicate(b"\\n")
    print(meter.read().memory_gb - alone)
"""
    # Three times 0.1 GB and their interpreters.
    assert 0.3 < printed(together) < 0.9


def test_a_peak_of_the_worker_itself_is_never_missed() -> None:
    short = """
from hpc_curate.element.meter import Meter
with Meter() as meter:
    before = meter.read().memory_gb
    held = bytearray(b"x" * 300_000_000)
    del held
    print(meter.read().memory_gb - before)
"""
    assert printed(short) > 0.25


def test_cpu_of_children_that_have_ended_counts() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    with Meter() as meter:
        subprocess.run([sys.executable, "-c", busy], check=True)
        cost = meter.read()
    assert 0.5 <= cost.cpu_s < 2
    assert cost.seconds >= 0.5


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="mine"), Meter():
        raise ValueError("mine")
    assert set(threading.enumerate()) <= before
