"""Why an attempt ended that could say nothing itself: from the last lines of its log, or from accounting.

What Slurm does to a job it writes into the job's own output, so that the answer is there without accounting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

OOM, TIMEOUT, PREEMPTED, NODE_FAIL = "oom", "timeout", "preempted", "node_fail"
CANCELLED, UNKNOWN = "cancelled", "unknown"
INNOCENT = {PREEMPTED, NODE_FAIL, CANCELLED}  # that say nothing about what the worker was at

# In the words of slurmstepd and srun; the first that matches counts. Ours and those of the data never begin like this.
_SLURM = re.compile(r"^(?:slurmstepd|slurmd|srun)[^:\n]*: .*$", re.MULTILINE)
_LOG_WORDS = (
    (OOM, re.compile(r"oom[-_ ]kill|OOM Killed|Out Of Memory|exceeded \w*\s?memory limit|Exceeded job memory", re.I)),
    (TIMEOUT, re.compile(r"DUE TO TIME LIMIT")),
    (PREEMPTED, re.compile(r"DUE TO (?:PREEMPTION|JOB REQUEUE)")),
    (NODE_FAIL, re.compile(r"DUE TO NODE FAIL|Node failure on|STEPD TERMINATED")),
    (CANCELLED, re.compile(r"CANCELLED AT")),
)
_STATES = {
    "OUT_OF_MEMORY": OOM,
    "TIMEOUT": TIMEOUT,
    "DEADLINE": TIMEOUT,
    "PREEMPTED": PREEMPTED,
    "REQUEUED": PREEMPTED,
    "NODE_FAIL": NODE_FAIL,
    "BOOT_FAIL": NODE_FAIL,
    "CANCELLED": CANCELLED,
}
# What the launcher's wrapper writes whenever it starts a task: what is above it is of an earlier start.
_STARTED = "Starting with JobEnvironment"
_TAIL_BYTES = 1 << 16


def of_text(text: str) -> str:
    """The cause that the end of a log names."""
    said = "\n".join(_SLURM.findall(text.rpartition(_STARTED)[2]))
    return next((cause for cause, words in _LOG_WORDS if words.search(said)), UNKNOWN)


def of_logs(paths: Iterable[Path]) -> str:
    """The cause that one of the logs of an attempt names."""
    found = [of_text(_tail(path)) for path in paths]
    return next((cause for cause in found if cause != UNKNOWN), UNKNOWN)


def of_state(state: str) -> str:
    """The cause behind a state of accounting, such as `CANCELLED by 1000`."""
    return _STATES.get(state.split()[0].rstrip("+"), UNKNOWN) if state else UNKNOWN


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
