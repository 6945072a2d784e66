"""An item in flight is dropped when the patience is over, wherever the worker is then."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal, time, types
from hpc_curate.element.worker import catch_signals
from hpc_curate.errors import Preempted

class Deaf:
    def __del__(self):
        time.sleep(1)  # the alarm comes now, and what it raises is printed and forgotten

catch_signals(types.SimpleNamespace(stopped=""), 0.1)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    Deaf()
    time.sleep(100)
    print("lasted")
except Preempted as error:
    print(error)
"""


def test_a_drop_that_was_raised_where_nobody_hears_it_is_raised_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout == "stopped by SIGTERM; the item in flight is dropped\n", done.stderr
