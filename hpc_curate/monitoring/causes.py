"""Why an attempt ended that could say nothing itself: from the last lines of its log, or from accounting.

What Slurm does to a job it writes into the job's own output, so that the answer is there without accounting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

OOM, TIMEOUT, PREEMPTED, NODE_FAIL = "oom", "timeout", "preempted", "node_fail"
CANCELLED, UNKNOWN = "cancelled", "unknown"
INTERRUPTED = "interrupted"  # by its user, on this machine
INNOCENT = {PREEMPTED, NODE_FAIL, CANCELLED}  # that say nothing about what the worker was at

# In the words of slurmstepd and srun; the first that matches counts. Ours and those of the data never begin like this.
# Since Slurm 24.11 the first says when, and not who.
_STAMP = r"\[\d{4}-\d\d-\d\dT[\d:.]+\] (?=error: |fatal: )"
_SLURM = re.compile(rf"^(?:(?:slurmstepd|slurmd|srun)[^:\n]*: |{_STAMP}).*$", re.MULTILINE)
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
# In our own words, of a worker that heeded a signal or its walltime.
_HEEDED = re.compile(r"^\S+ \S+ WARNING \w+: (?:stopped by SIG|the walltime is nearly)", re.MULTILINE)
# A line without news: of the wrapper, of a shell that reports the same once more, or the frame of a traceback.
_NO_NEWS = re.compile(r"^(?:\s|$|submitit |Traceback |During handling of|The above exception)")
_NO_REASON = re.compile(r"task\S* .*(?:Exited with|Terminated|Killed)|Job step aborted|got SIGCONT|forcing job|launch")
_AT = re.compile(
    r"^\S+ \S+ (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) |^hpc_curate\.errors\.|(?<=^slurmstepd)-[^:\s]+|^" + _STAMP
)
_FAILED = re.compile(r"^Traceback |^\S+ \S+ ERROR |\bFATAL\b|Exited with exit code", re.MULTILINE)


def of_text(text: str) -> str:
    """The cause that the end of a log names."""
    last = last_start(text)
    said = "\n".join(_SLURM.findall(last))
    found = next((cause for cause, words in _LOG_WORDS if words.search(said)), UNKNOWN)
    return PREEMPTED if found == UNKNOWN and _HEEDED.search(last) else found


def last_start(text: str) -> str:
    """Of a log that several starts have written to, what the last one wrote."""
    _, started, after = text.rpartition(_STARTED)
    return after.partition("\n")[2] if started else text


def reason(text: str) -> str:
    """The line of a log's end that says why a worker could not go on; empty where it was taken away without a word.

    A program that fails says why at last: an exception below its traceback, an error of a shell or a container.
    """
    last = last_start(text)
    if not _FAILED.search(last):
        return ""
    slurm = set(_SLURM.findall(last))
    lines = [line for line in last.splitlines() if not _NO_NEWS.match(line)]
    own = [line for line in lines if line not in slurm]
    told = own or [line for line in lines if not _NO_REASON.search(line)] or lines
    return _AT.sub("", told[-1]).strip() if told else ""


def of_logs(paths: Iterable[Path]) -> str:
    """The cause that one of the logs of an attempt names."""
    found = [of_text(tail(path)) for path in paths]
    return next((cause for cause in found if cause != UNKNOWN), UNKNOWN)


def of_state(state: str) -> str:
    """The cause behind a state of accounting, such as `CANCELLED by 1000`."""
    return _STATES.get(state.split()[0].rstrip("+"), UNKNOWN) if state else UNKNOWN


def tail(path: Path) -> str:
    """The end of a log; nothing of one that is gone or may not be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
