"""What was queued, written down before it is queued, so that nothing is ever queued twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpc_curate import __version__, code
from hpc_curate.errors import ConfigError
from hpc_curate.io import tables
from hpc_curate.io.paths import RunPaths
from hpc_curate.plan import Plan
from hpc_curate.run_folder import privacy

RELAY = "relay"  # the name that stands for a stage in the record of a job that queues the next wave


@dataclass(frozen=True)
class Submission:
    """One array: which element takes which units."""

    name: str  # also the job's name: unique, so that a lost answer of sbatch can be looked up
    stage: str
    plan: str
    content: str  # the signature without what merges read: the same rows are made under it
    work: str  # the same with what is asked for: the same units are done by it
    elements: tuple[tuple[int, ...], ...]
    created: float
    job_id: str | None = None  # null: sbatch has not answered yet; local-<pid> on this machine
    pids: tuple[str, ...] = ()  # of the processes of launch=local, by element
    over: tuple[int, ...] = ()  # elements of which Slurm has said twice that they have left the queue
    cancelled: tuple[int, ...] = ()  # those of them that somebody took back
    exclude: tuple[str, ...] = ()  # hosts that it must not run on
    gpus: tuple[str, ...] = ()  # of this machine, for the processes of launch=local to share
    began: float = 0.0  # when somebody asked for it: what a relay queues comes later
    here: bool = False  # in processes of this machine, of which Slurm knows nothing
    word: str = ""  # that a relay or a cancel left for whoever asks how the run is
    user: str = ""  # whose it is, in a run that several may go on with
    left_out: tuple[tuple[str, tuple[int, ...]], ...] = ()  # units by stage that a relay must not queue
    code: str = ""  # the fingerprint of the package that queued it

    @property
    def is_of_another(self) -> bool:
        """Whether only somebody else can cancel it."""
        return self.user not in ("", privacy.me())

    def units(self, elements: Iterable[int]) -> set[int]:
        """The units of some of the elements."""
        return {unit for element in elements for unit in self.elements[element]}


def prepare(plan: Plan, stage: str, elements: Sequence[Sequence[int]], **more: Any) -> Submission:
    """Write down what is about to be queued; `more` are other fields of the record."""
    is_relay = stage == RELAY
    created = time.time()
    submission = Submission(
        name=f"hpc-{stage}-{plan.hash}-{uuid.uuid4().hex[:8]}",
        stage=stage,
        plan=plan.hash,
        content=plan.hash if is_relay else plan.static_signature(stage),
        work=plan.hash if is_relay else plan.work_signature(stage),
        elements=tuple(tuple(units) for units in elements),
        user=privacy.me() if privacy.shareable(plan.settings) else "",
        code=code.fingerprint(),
        **{"created": created, "began": created, **more},
    )
    write(plan.paths, submission)
    return submission


def write(paths: RunPaths, submission: Submission) -> None:
    tables.write_json(paths.submission(submission.name), asdict(submission))


def forget(paths: RunPaths, submission: Submission) -> None:
    """Of what was refused there is nothing to remember."""
    paths.submission(submission.name).unlink(missing_ok=True)


def read(path: Path) -> Submission:
    """One record.

    Raises:
        ConfigError: it is not there or torn.
    """
    value = tables.read_json(path)
    if value is None:
        raise ConfigError(f"{path} is missing or torn")
    lists = {name: tuple(value.get(name, ())) for name in ("pids", "over", "cancelled", "exclude", "gpus")}
    left_out = tuple((stage, tuple(units)) for stage, units in value.get("left_out", ()))
    elements = tuple(tuple(units) for units in value["elements"])
    return Submission(**{**value, **lists, "elements": elements, "left_out": left_out})


def mine(paths: RunPaths, name: str) -> Submission:
    """The record that this process was started by.

    Raises:
        ConfigError: it was queued by other code than what runs here, in an older image or since the code was edited.
    """
    path = paths.submission(name)
    queued_by = (tables.read_json(path) or {}).get("code")
    if queued_by not in (None, code.fingerprint()):
        raise ConfigError(
            f"{name} was queued by other code than what runs here (hpc_curate {__version__}, {Path(__file__).parent}): "
            "build the image again, or run the same command again"
        )
    return read(path)


def every(paths: RunPaths) -> list[Submission]:
    """All records of a run, oldest first."""
    found = [read(path) for path in paths.submissions.glob("*.json")] if paths.submissions.is_dir() else []
    return sorted(found, key=lambda submission: submission.created)


def was_stopped(submitted: Sequence[Submission], job: str) -> bool:
    """Whether somebody has stopped the process of launch=local that attempts name so; by the last that had its number.

    Args:
        submitted: oldest first.
    """
    last = next((one for one in reversed(submitted) if job.removeprefix("local-") in one.pids), None)
    return bool(last and last.word)


def log_folder(plan: Plan, submission: Submission) -> Path:
    """For the logs of its elements, and for submitit's pickles."""
    return privacy.log_folder(plan.paths.logs(submission.stage, submission.user), plan.settings)


def deal(units: Sequence[int], elements: int) -> list[tuple[int, ...]]:
    """Units to elements, neighbours apart: units are frozen with the large ones first."""
    count = max(1, min(elements, len(units)))
    return [tuple(units[start::count]) for start in range(count)]


def in_arrays(elements: Sequence[tuple[int, ...]], most: int) -> Iterable[list[tuple[int, ...]]]:
    """Arrays of at most `most` elements."""
    for start in range(0, len(elements), most):
        yield list(elements[start : start + most])
