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
from hpc_curate.monitoring import deaths, row_errors, standing
from hpc_curate.monitoring.standing import BLOCKED, FAILED, STOPPED, Queue, Standing
from hpc_curate.nearest import nearest
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.run_folder.submissions import every
from hpc_curate.stage import PerUnit


@dataclass(frozen=True)
class Word:
    """What the ledger says of a video or clip at one stage, and where more is written."""

    stage: str
    text: str
    files: tuple[Path, ...]  # the newest last
    is_bad: bool = False  # it has an error there, or its unit ended badly


@dataclass(frozen=True)
class Trouble:
    """Units of a stage that ended badly with the same last words."""

    stage: str
    kind: str  # failed, stopped or blocked
    units: tuple[int, ...]
    reason: str  # one line; empty: no word was left
    files: tuple[Path, ...]  # of the last attempt at each, the newest first


def of_units(plan: Plan, stage: str, wanted: Iterable[int]) -> list[Path]:
    """Logs of everything that had one of the units for the rows of this plan, the newest last."""
    wanted, found = set(wanted), []
    by_job = plan.paths.logs_by_job(stage)
    for submission in every(plan.paths):
        mine = submission.stage == stage and submission.content == plan.static_signature(stage)
        for index, element in enumerate(submission.elements if mine and submission.job_id else ()):
            jobs = deaths.jobs_of(submission, index) if wanted & set(element) else []
            found += [log for job in jobs for log in by_job.get(job, [])]
    state = State(plan, Ledger(plan.paths), verify=False)
    signature = state.attempts_signature(stage)
    for unit in wanted:
        # What nobody queued through a submission: a unit that a plain batch script has done.
        record, attempt = state.record(stage, unit), state.ledger.attempt(stage, signature, unit)
        for job in (record.job if record else "", attempt.job):
            found += by_job.get(job.removeprefix("local-"), [])
    return sorted(dict.fromkeys(found), key=_modified)


def of_failures(plan: Plan, stage: str | None) -> list[Trouble]:
    """What ended badly, each by its last attempt, in the order of the line; where nothing did, what is blocked."""
    state = State(plan, Ledger(plan.paths), verify=False)
    queue = standing.queue(plan)
    found = [one for name in ([stage] if stage else plan.steps) for one in _troubles(state, name, queue)]
    return [one for one in found if one.kind != BLOCKED] or found


def _troubles(state: State, name: str, queue: Queue) -> Iterator[Trouble]:
    by_job = state.plan.paths.logs_by_job(name)
    together: dict[tuple[str, str], list[Standing]] = {}
    for one in standing.of_stage(state, name, queue):
        if one.kind in (FAILED, STOPPED, BLOCKED):
            together.setdefault((one.kind, one.last_line or one.cause), []).append(one)
    for (kind, reason), ones in together.items():
        logs = {log for one in ones for log in one.logs or by_job.get(one.attempt.job.removeprefix("local-"), ())}
        # Of a unit that is blocked the ledger does not say which job has found that.
        files = sorted(logs, key=_modified) or of_units(state.plan, name, [ones[0].unit])[-1:]
        yield Trouble(name, kind, tuple(one.unit for one in ones), reason, tuple(reversed(files)))


def of_thing(plan: Plan, thing: str) -> Iterator[Word]:
    """What each stage has to say of a video (its id, URI or name) or of a clip (its id), up to where the video failed.

    Raises:
        ConfigError: the run knows no such video or clip.
    """
    video, unit = _place(plan, thing)
    state = State(plan, Ledger(plan.paths), verify=False)
    if thing != video and records.video_of(thing) == video:
        _check_clip(state, unit, thing)
    for name, step in plan.steps.items():
        stage = step.stage
        if isinstance(stage, PerUnit) and stage.units_from is None:
            standing, is_bad = _standing(state, name, unit)
            errors = _errors(state, name, unit, video, thing)
            text = f"unit {unit}: {standing}" + "".join(f"\n    {of}: {error}" for of, error in errors.items())
            yield Word(name, text, tuple(of_units(plan, name, [unit])), is_bad or bool(errors))
            if video in errors:
                return


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


def _check_clip(state: State, unit: int, clip: str) -> None:
    """Of a unit that was not cut yet, nobody knows which clips it will have."""
    maker = state.plan.writers.get("start_pts")
    record = state.record(maker, unit) if maker else None
    if record is None or not record.outputs:
        return
    video = records.video_of(clip)
    every_clip = tables.read_table(state.ledger.outputs(record, "rows"), ["clip_id"])["clip_id"].to_pylist()
    clips = [one for one in every_clip if records.video_of(one) == video]
    if clip not in clips:
        has = counted(len(clips), "clip")
        raise ConfigError(f"video {video} has {has}, and '{clip}' is none of them; {nearest(clip, clips)}")


def _standing(state: State, name: str, unit: int) -> tuple[str, bool]:
    """How a unit stands, and whether it ended badly."""
    record = state.done(name, unit)
    if record:
        return f"done by job {record.job} on {record.host} in {record.seconds:.1f} s", False
    attempt = state.ledger.attempt(name, state.attempts_signature(name), unit)
    if not attempt.token and not attempt.failure:
        return "not begun", False
    by = f" by job {attempt.job} on {attempt.host}" if attempt.job else ""
    said = (attempt.message.strip().splitlines() or [""])[-1]
    return f"{attempt.failure or 'begun'}{by}" + (f": {said}" if said else ""), attempt.failure is not None


def _errors(state: State, name: str, unit: int, video: str, thing: str) -> dict[str, str]:
    """The error column of its rows: those of a clip, or of a video and of all its clips."""
    record = state.record(name, unit)
    if record is None or not record.errors or not record.outputs:
        return {}
    stage = state.plan.steps[name].stage
    main = row_errors.table_of(stage)
    key = "video_id" if main == "videos" else "clip_id"
    rows = tables.read_table(state.ledger.outputs(record, main), [key, "error"]).to_pylist()
    if thing != video and records.video_of(thing) == video:  # a clip
        mine = [row for row in rows if row[key] in (thing, video)]
    else:
        mine = [row for row in rows if records.video_of(row[key]) == video]
    return {row[key]: row["error"] for row in mine if row["error"]}


def _modified(path: Path) -> float:
    return path.stat().st_mtime
