"""What a unit costs its worker: seconds, CPU seconds, and memory at its highest."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_EVERY_S = 0.5


@dataclass(frozen=True)
class Cost:
    """The worker and its children together."""

    seconds: float
    cpu_s: float
    memory_gb: float  # resident; a child's peak that is shorter than half a second may be missed


class Meter:
    """Measures from entering the context to `read`.

    Children are looked at twice a second, because what the kernel remembers of them is the largest one, and encoders
    run side by side. Libraries that several of them map are counted for each: rather too much than too little.
    """

    def __enter__(self) -> Meter:
        self._began, self._cpu_before = time.monotonic(), _cpu_s()
        self._highest_before, self._peak = _highest(), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def read(self) -> Cost:
        """The cost so far."""
        highest = _highest()
        # The process's own peak is exact, but it may be of an earlier unit.
        own = highest if highest > self._highest_before else 0
        peak = max(own, self._peak, _resident(os.getpid()))
        seconds, cpu_s = time.monotonic() - self._began, _cpu_s() - self._cpu_before
        return Cost(round(seconds, 3), round(cpu_s, 3), round(peak / 1e9, 3))

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, sum(map(_resident, _tree(os.getpid()))))
            if self._ended.wait(_EVERY_S):
                return


def _cpu_s() -> float:
    """Of this process and of the children that it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def _highest() -> int:
    """The most bytes that this process was ever resident with; rusage would begin with those of whoever started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it; alone where the kernel does not tell."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (thread / "children").read_text().split():
                    yield from _tree(int(child))


def _resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * resource.getpagesize()
