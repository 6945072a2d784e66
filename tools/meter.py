"""CPU seconds and wall of work and its children, for the benchmarks, and what they are compared with."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from hpc_curate.io import child


def bare_decode(path: Path) -> None:
    """The video, decoded by one thread, and nothing else."""
    command = [child.ffmpeg(), *child.DEMUX, "-threads", "1", "-i", child.source(path), "-map", "0:V:0"]
    subprocess.run([*command, "-f", "null", "-"], check=True)


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of this process and its waited-for descendants, and wall seconds."""

    def used() -> float:
        parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(part.ru_utime + part.ru_stime for part in parts)

    cpu, wall = used(), time.monotonic()
    work()
    return used() - cpu, time.monotonic() - wall


def in_turn(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of (CPU s, wall s) by job; the jobs take turns, so that a drift of the machine hits all of them."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            seen[name].append(measured(job))
    return {name: (median(cpu for cpu, _ in runs), median(wall for _, wall in runs)) for name, runs in seen.items()}


def show(results: Mapping[str, tuple[float, float]], base: str) -> None:
    """One line per job, with its ratios to `base`."""
    cpu_base, wall_base = results[base]
    for name, (cpu, wall) in results.items():
        ratios = f"{cpu / cpu_base:.2f} x CPU, {wall / wall_base:.2f} x wall"
        print(f"{name:24} {cpu:7.2f} CPU s {wall:7.2f} s wall   {ratios}")
