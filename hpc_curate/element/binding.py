"""A worker's share of the machine it runs on: its own GPUs and CPUs."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """One of several workers that share a machine."""

    rank: int = 0
    workers: int = 1


@dataclass(frozen=True)
class Share:
    """What a worker may use; empty: as it finds it."""

    gpus: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()


def share(place: Place, gpus_each: int, gpus: Sequence[str], cpus: Sequence[int], cpus_of_all: int = 0) -> Share:
    """The worker's slice of what all workers together see.

    A worker that sees less than all of them are given was bound by the scheduler, and stays as it is. One that sees
    more CPUs shares them with others: those stay as they are too.

    Args:
        gpus_each: GPUs that each worker is given.
        gpus, cpus: what this worker sees.
        cpus_of_all: CPUs that all workers together are given; 0: not known.
    """
    mine: tuple[str, ...] = ()
    if gpus_each and (len(gpus) >= gpus_each * place.workers or place.workers == 1):
        mine = tuple(gpus[place.rank * gpus_each : (place.rank + 1) * gpus_each])
    each = len(cpus) // place.workers
    if place.workers == 1 or not each or len(cpus) != cpus_of_all:
        return Share(mine)
    return Share(mine, tuple(cpus[place.rank * each : (place.rank + 1) * each]))


def bind(own: Share) -> None:
    """Keep this process and its children to their share; before a library that uses GPUs or threads is loaded."""
    if own.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own.gpus)
    if own.cpus:
        os.sched_setaffinity(0, own.cpus)
    if own != Share():
        log.info("bound to GPUs %s, CPUs %s", ",".join(own.gpus) or "-", ",".join(map(str, own.cpus)) or "-")


def visible_gpus() -> tuple[str, ...]:
    """The names that CUDA_VISIBLE_DEVICES would have for the GPUs that this process may use."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
        count = sum(line.startswith("GPU ") for line in listed.splitlines())
    except (OSError, subprocess.SubprocessError):
        count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return tuple(str(index) for index in range(count))
