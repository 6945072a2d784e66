"""Turns at a host: all tasks of a run together ask a host no more often than once in a pause.

Time is cut into pauses that are numbered. Who makes the file with the number of one has the turn in it: such a file
can be made once, on any file system, so nobody has to wait for a lock, and what a killed task leaves is one turn that
nobody uses. Clocks that differ between nodes make the turns uneven, and not more.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import urllib.parse
from pathlib import Path

_KEPT = 10  # turns that are over, for clocks that are late


class Turns:
    """Safe to use from several threads, processes and nodes."""

    def __init__(self, folder: Path, pause_s: float) -> None:
        self._folder, self._pause_s = folder, pause_s

    def take(self, host: str, stopped: threading.Event) -> None:
        """Wait for the next turn that is free, or until `stopped`."""
        if self._pause_s <= 0:
            return
        # Of another pause the numbers mean other times.
        folder = self._folder / f"{urllib.parse.quote(host, safe='')}-{self._pause_s:g}"
        folder.mkdir(parents=True, exist_ok=True)
        stopped.wait(max(0.0, self._own(folder) * self._pause_s - time.time()))

    def _own(self, folder: Path) -> int:
        while True:
            first = math.ceil(time.time() / self._pause_s)
            taken = {int(turn.name) for turn in folder.iterdir()}
            mine = next(number for number in itertools.count(first) if number not in taken)
            for number in taken:
                if number < first - _KEPT:
                    (folder / str(number)).unlink(missing_ok=True)
            try:
                (folder / str(mine)).touch(exist_ok=False)
                return mine
            except FileExistsError:  # another was faster
                continue
