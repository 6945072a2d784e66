"""The processes that launch=local has started on this machine, whoever asks and from wherever."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpc_curate.cluster.slurm import Live
from hpc_curate.io.paths import RunPaths
from hpc_curate.run_folder import submissions
from hpc_curate.run_folder.submissions import Submission


def live(paths: RunPaths, submitted: Sequence[Submission]) -> list[Live]:
    """Which submissions still have processes here."""
    found = []
    for submission in submitted:
        elements = [at for at, pid in enumerate(submission.pids) if _is_ours(paths, submission, pid)]
        if elements and submission.job_id:
            units = tuple(sorted(submission.units(elements)))
            found.append(Live(submission, submission.job_id, units, running=len(elements)))
    return found


def stop(paths: RunPaths, submission: Submission) -> int:
    """Ask its processes to stop after the item in flight, and leave word of it; returns how many were asked."""
    asked = 0
    for pid in submission.pids:
        if _is_ours(paths, submission, pid):
            if not asked:  # before they end: whoever waits for them asks then why
                submissions.write(paths, replace(submission, word="stopped by hpc-curate cancel"))
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
                asked += 1
    return asked


def _is_ours(paths: RunPaths, submission: Submission, pid: str) -> bool:
    """Whether it runs, and is the one: its number may be another machine's, or may have gone to another process."""
    try:
        folder = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2])
        return bool(folder) and Path(folder).samefile(paths.logs(submission.stage, submission.user))
    except (OSError, ValueError):
        return False
