"""Which logs to read: of a unit, of what failed, or of whatever worked on one video or clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import records, sources, units
from hpc_curate.errors import ConfigError
from hpc_curate.io import tables
from hpc_curate.monitoring import standing
from hpc_curate.monitoring.standing import BLOCKED, FAILED, STOPPED
from hpc_curate.plan import Plan
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.run_folder.submissions import Submission, every
from hpc_curate.stage import PerUnit


@dataclass(frozen=True)
class Word:
    """What the ledger says of a video or clip at one stage, and where more is written."""

    stage: str
    text: str
    files: tuple[Path, ...]


def of_units(plan: Plan, stage: str, wanted: Iterable[int]) -> list[Path]:
    """Logs of everything that had one of the units, the newest last."""
    wanted, found = set(wanted), []
    for submission in every(plan.paths):
        if submission.stage == stage and submission.job_id is not None:
            for index, mine in enumerate(submission.elements):
                found += _of_element(plan, submission, index) if wanted & set(mine) else []
    state = State(plan, Ledger(plan.paths), verify=False)
    signature = state.attempts_signature(stage)
    for unit in wanted:
        # What nobody queued through a submission: a unit that a plain batch script has done.
        record, attempt = state.record(stage, unit), state.ledger.attempt(stage, signature, unit)
        for job in (record.job if record else "", attempt.job):
            found += plan.paths.logs_of(stage, job) if job else []
    return sorted(dict.fromkeys(found), key=lambda path: path.stat().st_mtime)


def of_failures(plan: Plan, stage: str | None) -> list[Path]:
    """Logs of the units that failed, are blocked, or stopped without a word."""
    state = State(plan, Ledger(plan.paths), verify=False)
    queue = standing.queue(plan)
    found: list[Path] = []
    for name in [stage] if stage else plan.steps:
        troubled = [one.unit for one in standing.of_stage(state, name, queue) if one.kind in (FAILED, BLOCKED, STOPPED)]
        found += of_units(plan, name, troubled) if troubled else []
    return found


def of_thing(plan: Plan, thing: str) -> Iterator[Word]:
    """What each stage has to say of a video (its id, URI or name) or of a clip (its id).

    Raises:
        ConfigError: the run knows no such video.
    """
    video, unit = _place(plan, thing)
    state = State(plan, Ledger(plan.paths), verify=False)
    for name, step in plan.steps.items():
        stage = step.stage
        if isinstance(stage, PerUnit) and stage.units_from is None:
            text = f"unit {unit}: {_standing(state, name, unit)}{_errors(state, name, unit, video, thing)}"
            yield Word(name, text, tuple(of_units(plan, name, [unit])))


def _place(plan: Plan, thing: str) -> tuple[str, int]:
    """The id and the unit of a video, or of the video of a clip."""
    videos = units.all_videos(plan.paths)
    ids = {thing, records.video_of(thing), records.video_id(thing)}
    if "://" not in thing:
        ids.add(records.video_id(records.local_uri(sources.absolute(thing))))
    for column, values in (("video_id", ids), ("name", {thing})):
        found = videos.filter(pc.is_in(videos[column], pa.array(sorted(values), pa.string())))
        if found.num_rows:
            return found["video_id"][0].as_py(), found["unit"][0].as_py()
    raise ConfigError(f"{plan.paths.root} has no video or clip '{thing}'; hpc-curate table lists all of them")


def _standing(state: State, name: str, unit: int) -> str:
    record = state.done(name, unit)
    if record:
        return f"done by job {record.job} on {record.host} in {record.seconds:.1f} s"
    attempt = state.ledger.attempt(name, state.attempts_signature(name), unit)
    if not attempt.token and not attempt.failure:
        return "not begun"
    by = f" by job {attempt.job} on {attempt.host}" if attempt.job else ""
    return f"{attempt.failure or 'begun'}{by}" + (f": {attempt.message.strip()}" if attempt.message else "")


def _errors(state: State, name: str, unit: int, video: str, thing: str) -> str:
    """The error column of its rows: those of a clip, or of a video and of all its clips."""
    record = state.record(name, unit)
    if record is None or not record.errors or not record.outputs:
        return ""
    stage = state.plan.steps[name].stage
    main = next(table for table in ("rows", "videos") if table in stage.writes())
    key = "video_id" if main == "videos" else "clip_id"
    rows = tables.read_table(state.ledger.outputs(record, main), [key, "error"]).to_pylist()
    if thing != video and records.video_of(thing) == video:  # a clip
        mine = [row for row in rows if row[key] in (thing, video)]
    else:
        mine = [row for row in rows if records.video_of(row[key]) == video]
    return "".join(f"\n    {row[key]}: {row['error']}" for row in mine if row["error"])


def _of_element(plan: Plan, submission: Submission, index: int) -> list[Path]:
    if submission.pids:
        return plan.paths.logs_of(submission.stage, submission.pids[index])
    job = f"{submission.job_id}_{index}"
    if len(submission.elements) > 1:
        return plan.paths.logs_of(submission.stage, job)
    # An array of one may be no array.
    return plan.paths.logs_of(submission.stage, job) or plan.paths.logs_of(submission.stage, str(submission.job_id))
