"""Look again and again: in place on a terminal, one line for each change in a log."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from hpc_curate.cluster import slurm
from hpc_curate.cluster.slurm import Live
from hpc_curate.errors import SchedulerError
from hpc_curate.monitoring.overview import RUNNING, Status
from hpc_curate.report import progress
from hpc_curate.run_folder.submissions import Submission

_REFRESH_S = 5.0
_ASK_EVERY_S = 30.0  # sites ask for no more
_LOOKING_SHARE = 0.2  # of the time, where a look at the ledger takes long
_END_IS_SURE = 2  # looks that agree: between a stage and the next, a queue may be empty for a moment


@dataclass
class Patience:
    """Asks Slurm once in a while, and says in between what it said last."""

    every_s: float = _ASK_EVERY_S
    clock: Callable[[], float] = time.time
    _asked: float = float("-inf")
    _said: list[Live] = field(default_factory=list)
    _silent: str = ""

    def live(self, submitted: Sequence[Submission]) -> tuple[list[Live], float]:
        """What was queued or running when Slurm was asked last, and when that was.

        Raises:
            SchedulerError: Slurm did not answer when it was asked last.
        """
        if self.clock() - self._asked >= self.every_s:
            self._asked = self.clock()
            try:
                self._said, self._silent = slurm.live(submitted), ""
            except SchedulerError as error:
                self._silent = str(error)
        if self._silent:
            raise SchedulerError(self._silent)
        return self._said, self._asked


def watch(look: Callable[[], Status], screen: TextIO, sleep: Callable[[float], None] = time.sleep) -> Status:
    """Until the run is done, failed or blocked; returns the last look."""
    shown, agreed = "", 0
    while True:
        began = time.monotonic()
        status = look()
        shown = _show(status, screen, shown)
        sure = status.state != RUNNING and not status.scheduler.startswith("silent")
        agreed = agreed + 1 if sure else 0
        if status.state == "done" or agreed >= _END_IS_SURE:
            return status
        sleep(max(_REFRESH_S, (time.monotonic() - began) / _LOOKING_SHARE))


def _show(status: Status, screen: TextIO, shown: str) -> str:
    """Put a look on the screen; returns what is there now."""
    at = time.strftime("%H:%M:%S")
    if not screen.isatty():
        now = progress.line(status)
        if now != shown:
            print(f"{at} {now}", file=screen, flush=True)
        return now
    columns, lines = shutil.get_terminal_size()
    rows = [row[:columns] for row in f"{progress.text(status)}\n\n{at}".splitlines()][: lines - 1]
    # Home, each row with what is left of the old one wiped, and what is below wiped too: nothing flickers.
    screen.write("\x1b[H" + "".join(f"{row}\x1b[K\n" for row in rows) + "\x1b[J")
    screen.flush()
    return ""
