"""What Slurm's commands say, as odd as sites, versions and other people make it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_curate.cluster import slurm
from hpc_curate.cluster.slurm import Task
from hpc_curate.errors import SchedulerError
from hpc_curate.run_folder import privacy

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script on the PATH under the name of a command."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def put(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(script)
        path.chmod(0o755)

    return put


def test_names_in_any_encoding_and_of_any_number_of_lines_hide_no_job(program: Program) -> None:
    odd = r"7|N/A|RUNNING|me|K\344the\nand\n\n8|3|PENDING|me|hpc-scan-1\n9|N/A|PENDING|me|a|b\n"
    program("squeue", f"#!/bin/sh\nprintf '{odd}'")
    found = slurm.queue()
    assert [(task.job, task.index, task.name) for task in found] == [
        ("7", 0, "K\ufffdthe"),
        ("8", 3, "hpc-scan-1"),
        ("9", 0, "a|b"),
    ]


def test_what_a_user_filters_for_himself_and_what_a_site_hides_is_seen(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_PARTITION", "gpu")
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    said = f"8|3|PENDING|{privacy.me()}|hpc-scan-1"
    nothing_is_set = '[ -z "$SQUEUE_PARTITION$SQUEUE_STATES" ]'
    program("squeue", f'#!/bin/sh\n{nothing_is_set} && case "$*" in *--all*) echo "{said}";; esac')
    assert slurm.queue() == [Task("8", 3, "hpc-scan-1", "PENDING")]


@pytest.mark.parametrize(
    ("listed", "elements"),
    [
        ("4", [4]),
        ("3-5,9%2", [3, 4, 5, 9]),
        ("0-12:4%256", [0, 4, 8, 12]),
        ("N/A", []),
    ],
)
def test_elements_are_listed_as_ranges_with_or_without_a_step(
    program: Program, listed: str, elements: list[int]
) -> None:
    line = f"JobId=8 ArrayJobId=8 ArrayTaskId={listed} JobName=hpc-scan-1 UserId=me(1) JobState=PENDING Reason=None"
    program("scontrol", f"#!/bin/sh\necho '{line}'")
    answer = slurm.recheck(["hpc-scan-1"], 0.0)
    assert answer.complete
    assert [task.index for task in answer.tasks] == elements


def test_accounting_is_asked_for_more_jobs_than_fit_into_one_argument(program: Program) -> None:
    each = """echo "${word#--jobs=}" | tr , '\\n' | sed 's/$/|x|FAILED/'"""
    program("sacct", f"#!/bin/sh\nfor word; do case $word in --jobs=*) {each};; esac; done")
    jobs = [f"12345678_{index}" for index in range(12_000)]
    assert slurm.states(jobs) == dict.fromkeys(jobs, "FAILED")


def test_a_command_that_cannot_be_started_is_no_answer(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("squeue", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="squeue could not be started"):
        slurm.queue()
