"""Turns at a host are shared by whoever shares the folder."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hpc_curate.io.turns import Turns

TAKE = """
import sys, threading, time
from pathlib import Path
from hpc_curate.io.turns import Turns
turns, never = Turns(Path(sys.argv[1]), 0.2), threading.Event()
for _ in range(4):
    turns.take("videos.example", never)
    print(time.time(), flush=True)
"""


def test_processes_ask_a_host_one_after_another_and_no_faster_than_the_pause(tmp_path: Path) -> None:
    began = time.time()
    command = [sys.executable, "-c", TAKE, str(tmp_path)]
    tasks = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    moments = sorted(float(line) for task in tasks for line in task.communicate()[0].split())
    assert len(moments) == 12
    # Each has a turn of its own, and none of them is before its time, however late a process wakes up.
    assert all(moment >= began + number * 0.2 - 0.01 for number, moment in enumerate(moments))


def test_hosts_do_not_wait_for_each_other_and_no_pause_is_none(tmp_path: Path) -> None:
    never, began = threading.Event(), time.monotonic()
    with ThreadPoolExecutor(200) as pool:
        list(pool.map(lambda number: Turns(tmp_path, 1.0).take(f"{number}.example", never), range(200)))
    for _ in range(20):
        Turns(tmp_path, 0.0).take("videos.example", never)
    assert time.monotonic() - began < 150  # one after another they would take longer


def test_turns_that_are_over_leave_nothing_and_a_stop_ends_the_wait(tmp_path: Path) -> None:
    turns, stopped = Turns(tmp_path, 0.01), threading.Event()
    for _ in range(40):
        turns.take("../videos.example", stopped)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) < 20
    stopped.set()
    began = time.monotonic()
    for _ in range(4):
        Turns(tmp_path, 60.0).take("videos.example", stopped)
    assert time.monotonic() - began < 120  # the fourth turn is later
