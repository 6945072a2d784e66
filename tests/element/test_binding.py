"""Workers that share a machine get slices that do not overlap, and what the scheduler has bound stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_curate.element import binding
from hpc_curate.element.binding import Place, Share, share

GPUS = ("0", "1", "2", "3")
CPUS = tuple(range(8))


def test_each_worker_gets_its_slice() -> None:
    found = [share(Place(rank, 2), 2, GPUS, CPUS, 8) for rank in range(2)]
    assert found == [Share(("0", "1"), (0, 1, 2, 3)), Share(("2", "3"), (4, 5, 6, 7))]


def test_names_of_gpus_need_not_be_numbers() -> None:
    assert share(Place(1, 2), 1, ("GPU-8f", "MIG-1c"), ()).gpus == ("MIG-1c",)


@pytest.mark.parametrize("gpus, cpus", [(("3",), (6, 7)), ((), (6, 7))])
def test_what_the_scheduler_has_bound_stays(gpus: tuple[str, ...], cpus: tuple[int, ...]) -> None:
    assert share(Place(1, 4), 1, gpus, cpus, 8) == Share()


def test_a_worker_that_is_alone_takes_what_there_is() -> None:
    assert share(Place(), 4, ("0", "1"), ()) == Share(("0", "1"))


def test_cpus_that_are_shared_with_other_jobs_stay() -> None:
    assert share(Place(1, 2), 0, (), tuple(range(64)), 8) == Share()


def test_a_worker_that_is_alone_keeps_all_cpus_and_takes_the_gpus_it_is_given() -> None:
    assert share(Place(), 1, GPUS, CPUS, 8) == Share(("0",))


def test_a_process_and_its_children_are_kept_to_their_share() -> None:
    first = min(os.sched_getaffinity(0))
    code = (
        "import os, subprocess; from hpc_curate.element.binding import *\n"
        f"bind(Share(('5', '7'), ({first},)))\n"
        "subprocess.run(['sh', '-c', 'echo $CUDA_VISIBLE_DEVICES; nproc'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["5,7", "1"]


@pytest.mark.parametrize("said, gpus", [("2, 3", ("2", "3")), ("", ())])
def test_gpus_are_those_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, said: str, gpus: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert binding.visible_gpus() == gpus


def test_or_those_that_the_driver_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA A100 (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert binding.visible_gpus() == ("0", "1")
