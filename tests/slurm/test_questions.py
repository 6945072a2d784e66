"""What Slurm answers when it is asked twice about the elements of an array."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate.cluster import slurm as slurm_commands
from hpc_curate.cluster.slurm import Answer

NAME = "hpc-asked-twice"


def array() -> str:
    """Four elements, one at a time, of which the first is taken back while it runs."""
    command = ["sbatch", "--parsable", f"--job-name={NAME}", "--array=0-3%1", "--output=/dev/null", "--wrap=sleep 900"]
    job = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    first = ["squeue", "--noheader", f"--jobs={job}_0", "--states=RUNNING"]
    eventually(lambda: bool(subprocess.run(first, check=True, capture_output=True).stdout))
    subprocess.run(["scancel", f"{job}_0"], check=True)
    return job


def over(answer: Answer, job: str) -> dict[int, bool]:
    return {task.index: task.ended for task in answer.tasks if (task.job, task.name) == (job, NAME)}


def test_the_controller_knows_each_element_and_what_is_over(slurm: None) -> None:
    began, job = time.time(), array()
    eventually(lambda: len([task for task in slurm_commands.queue() if task.name == NAME]) == 3)
    answer = slurm_commands.recheck([NAME], began)
    assert answer.complete
    assert over(answer, job) == {0: True, 1: False, 2: False, 3: False}


def test_where_the_controller_is_silent_accounting_is_asked_and_its_silence_means_nothing(
    cluster_with_accounting: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster_with_accounting["SLURM_CONF"])
    began, job = time.time(), array()
    silent = tmp_path / "scontrol"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    # Of elements that have never run it says nothing, or not yet.
    known = {0: True, 1: False}.items()
    eventually(lambda: over(slurm_commands.recheck([NAME], began), job).items() >= known)
    assert not slurm_commands.recheck([NAME], began).complete
    subprocess.run(["scancel", job], check=True)
