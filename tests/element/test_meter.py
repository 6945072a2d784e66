"""A unit's cost counts its children, also those that run side by side."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from hpc_curate.element.meter import Meter

HOLD = "held = bytearray(b'x' * {size}); print(flush=True); input()"


def child(size: int) -> subprocess.Popen[bytes]:
    """A process that holds so many bytes until it is let go."""
    command = [sys.executable, "-c", HOLD.format(size=size)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def test_children_side_by_side_count_together() -> None:
    with Meter() as meter:
        alone = meter.read().memory_gb
        children = [child(100_000_000) for _ in range(3)]
        time.sleep(1.2)
        for process in children:
            process.communicate(b"\n")
        memory_gb = meter.read().memory_gb
    # Three times 0.1 GB and their interpreters; what they share with this process counts in each.
    assert alone + 0.3 < memory_gb < alone + 0.9


def test_a_peak_of_the_worker_itself_is_never_missed() -> None:
    """In a process of its own: what the kernel remembers is of a whole life."""
    short = """
from hpc_curate.element.meter import Meter
with Meter() as meter:
    before = meter.read().memory_gb
    held = bytearray(b"x" * 300_000_000)
    del held
    print(meter.read().memory_gb - before)
"""
    done = subprocess.run([sys.executable, "-c", short], check=True, capture_output=True, text=True)
    assert float(done.stdout) > 0.25


def test_cpu_of_children_that_have_ended_counts() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    with Meter() as meter:
        subprocess.run([sys.executable, "-c", busy], check=True)
        cost = meter.read()
    assert 0.5 <= cost.cpu_s < 2
    assert cost.seconds >= 0.5


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="mine"), Meter():
        raise ValueError("mine")
    assert threading.active_count() == before
