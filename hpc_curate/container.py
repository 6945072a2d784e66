"""How a task's interpreter is started: on the bare machine, or inside a container image."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

from hpc_curate.plan import Plan


@dataclass(frozen=True)
class Inside:
    """What submitit's Slurm executor is given for a stage."""

    python: str  # shell words that start the interpreter
    srun_args: tuple[str, ...] = ()


def inside(plan: Plan, stage: str) -> Inside:
    """The interpreter of a stage's tasks."""
    return Inside(plan.settings["launch"]["python"] or shlex.quote(sys.executable))
