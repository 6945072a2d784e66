"""What became of every video and every clip. Each ends in one state, and the states add up, or nothing is reported.

kept · rejected (with a reason) · failed (with an error) · pending (nobody has judged it yet)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import align
from hpc_curate.errors import MergeRefused
from hpc_curate.records import VIDEOS
from hpc_curate.run_folder import kinds
from hpc_curate.stages.select import DUPLICATE

KEPT, REJECTED, FAILED, PENDING = "kept", "rejected", "failed", "pending"
DONE = "done"  # a unit

UNIT_STATES = pa.schema(
    [
        ("unit", pa.int32()),
        ("state", pa.string()),  # of scan and shots: done, failed or pending
        ("error", pa.string()),
    ]
)

# One line of the funnel. A step without a reason is a total; with one, a part of it.
FUNNEL = pa.schema(
    [
        ("step", pa.string()),
        ("reason", pa.string()),
        ("videos", pa.int64()),
        ("clips", pa.int64()),
        ("hours", pa.float64()),  # null: not known, because nobody could look
    ]
)

# The steps of the funnel, in order. Between two totals stands what was lost on the way.
VIDEOS_IN, CLIPS_MADE, CLIPS_KEPT, IN_TARS = "videos in", "clips", "kept", "in tars"
TOTALS = (VIDEOS_IN, CLIPS_MADE, CLIPS_KEPT, IN_TARS)

_NO_CLIP = "no span reaches stage.shots.min_duration_s"
_IN_NO_CLIP = {
    "short_s": "spans below stage.shots.min_duration_s",
    "trimmed_s": "trimmed off the ends",
    "long_dropped_s": "cut off long spans",
    "transition_s": "transitions",
}
_TOLERANCE_S = 1e-3  # per video: sums of numbers that are rounded to a microsecond


@dataclass(frozen=True)
class Books:
    """The tables of a run that are accounted for, each over all units that are done."""

    units: pa.Table  # records.UNITS: every video that was frozen
    unit_states: pa.Table  # UNIT_STATES, one row per unit
    videos: pa.Table  # records.VIDEOS, from scan
    shot_counts: pa.Table  # from shots
    clips: pa.Table  # every clip that shots made, with `error` and every column so far
    samples: pa.Table | None = None  # clip_id, and tar and offset for `clip_rows`; None: nothing is packed yet


# The columns that a funnel is counted from.
COUNTED = ("duration_s", "gate_keep", "gate_reason", "state", "reason")


def clip_rows(books: Books) -> pa.Table:
    """One row per clip: clip_id, uri, name, start_s, end_s, every column, state, reason, error, tar, offset.

    Raises:
        MergeRefused: a clip or a sample belongs to nobody, or is there twice.
    """
    clips, of, at = books.clips, _video_of(books), _places(books)
    ends: dict[str, pa.Array] = _judged(clips)
    for name, kind in (("tar", pa.string()), ("offset", pa.int64())):
        ends[name] = pa.nulls(len(at), kind) if books.samples is None else books.samples[name].take(at)
    first = {"clip_id": clips["clip_id"], "uri": books.units["uri"].take(of), "name": books.units["name"].take(of)}
    first |= {"start_s": clips["start_s"], "end_s": clips["end_s"]}
    rest = {name: clips[name] for name in clips.column_names if name not in first and name not in ends}
    return pa.table({**first, **rest, **ends})


def _video_of(books: Books) -> pa.Array:
    """int32: the row in `units` of each clip's video."""
    return _where(books.clips["video_id"], books.units["video_id"], "clips are of videos that were never frozen")


def counted(books: Books) -> tuple[pa.Table, pa.Table]:
    """What may be counted of `clip_rows`, and `video_rows`, from books that have `COUNTED` only.

    With ten million clips their names would be most of it: `video_id` is the row in `units`, and `packed` says whether
    there is a sample.

    Raises:
        MergeRefused: as those two.
    """
    gate = _column(books.clips, "gate_keep", pa.bool_())
    own = {"video_id": _video_of(books), "duration_s": books.clips["duration_s"], "gate_keep": gate}
    clips = pa.table({**own, **_judged(books.clips), "packed": pc.is_valid(_places(books))})
    return clips, _videos(books, clips, clips["video_id"])


def video_rows(books: Books, clips: pa.Table) -> pa.Table:
    """One row per frozen video: its facts, how many of its clips were made and kept, state, reason, error.

    Args:
        clips: what `clip_rows` returns.

    Raises:
        MergeRefused: a video is lost or there twice, or its unit has no state.
    """
    return _videos(books, clips, _video_of(books))


def _videos(books: Books, clips: pa.Table, of: pa.Array) -> pa.Table:
    """The same; `of` is the row in `units` of each clip's video."""
    units, ids = books.units, books.units["video_id"]
    _refuse_twice(ids, "videos are in two units")
    _refuse_twice(books.videos["video_id"], "videos were scanned twice")
    unit_at = _where(units["unit"], books.unit_states["unit"], "videos are in units without a state")
    unit_state = books.unit_states["state"].take(unit_at)
    at = align.rows_of(ids, books.videos["video_id"])
    _refuse(pc.and_(pc.equal(unit_state, DONE), pc.is_null(at)), ids, "videos of finished units are not in scan's rows")
    error = pc.coalesce(books.unit_states["error"].take(unit_at), books.videos["error"].take(at))
    counts = _counts(of.to_numpy(), len(ids), clips)
    state, reason = _video_states(unit_state, error, counts)
    known = [name for name in books.videos.column_names if name in VIDEOS.names]
    facts = {name: books.videos[name].take(at) for name in known if name not in (*units.column_names, "error")}
    first = {name: units[name] for name in ("video_id", "uri", "name", "unit", "bytes")}
    made = {"clips": counts["clips"], "kept": counts[KEPT]}
    return pa.table({**first, **facts, **made, "state": state, "reason": reason, "error": error})


def funnel(books: Books, final: bool = False) -> pa.Table:
    """The counts of every step, as rows of `FUNNEL`; what the steps between two totals lost is their difference.

    Args:
        final: everything must be finished: every clip judged, and every kept one in a tar.

    Raises:
        MergeRefused: something does not add up; the message names it.
    """
    clips, videos = counted(books)
    _check_seconds(books, videos, clips)
    _check_places(books, clips, final)
    lines = [_line(VIDEOS_IN, videos)]
    barren = videos.filter(pc.equal(videos["clips"], 0))
    failed = barren.filter(pc.equal(barren["state"], FAILED))
    lines += _lost("videos failed", _by_kind(failed, ["uri", "name"]), "error")
    for state, step in ((PENDING, "videos pending"), (REJECTED, "videos without a clip")):
        lines += _lost(step, barren.filter(pc.equal(barren["state"], state)), None)
    lines += _in_no_clip(books.shot_counts)
    lines.append(_line(CLIPS_MADE, clips))
    by_gate = pc.equal(clips["gate_keep"], False).fill_null(False)
    duplicate = pc.equal(clips["reason"], DUPLICATE).fill_null(False)
    by_select = pc.and_(pc.equal(clips["state"], REJECTED), pc.invert(pc.or_(by_gate, duplicate)))
    lines += _lost("rejected by gate", clips.filter(by_gate), "reason")
    lines += _lost("clips failed", _by_kind(clips.filter(pc.equal(clips["state"], FAILED)), []), "error")
    lines += _lost("rejected by select", clips.filter(by_select), "reason")
    lines += _lost("duplicates", clips.filter(duplicate), None)
    lines += _lost("clips pending", clips.filter(pc.equal(clips["state"], PENDING)), None)
    kept = clips.filter(pc.equal(clips["state"], KEPT))
    lines.append(_line(CLIPS_KEPT, kept))
    lines.append(_line(IN_TARS, kept.filter(kept["packed"])))
    return pa.Table.from_pylist(lines, schema=FUNNEL)


def _judged(clips: pa.Table) -> dict[str, pa.Array]:
    """State, reason and error of each clip; each clip has one state, and a reason or an error only if it says so."""
    _refuse_twice(clips["clip_id"], "clips are there twice")
    by_gate = pc.equal(_column(clips, "gate_keep", pa.bool_()), False)
    selected = _column(clips, "state", pa.string())
    error = _column(clips, "error", pa.string())
    state = pc.case_when(
        pc.make_struct(
            pc.or_(by_gate.fill_null(False), pc.equal(selected, REJECTED).fill_null(False)),
            pc.or_(pc.is_valid(error), pc.equal(selected, FAILED).fill_null(False)),
            pc.equal(selected, KEPT).fill_null(False),
        ),
        REJECTED,
        FAILED,
        KEPT,
        PENDING,
    )
    reason = pc.coalesce(_column(clips, "gate_reason", pa.string()), _column(clips, "reason", pa.string()))
    nothing = pa.scalar(None, pa.string())
    rejected, failed = pc.equal(state, REJECTED), pc.equal(state, FAILED)
    return {
        "state": state,
        "reason": pc.if_else(rejected, reason, nothing),
        "error": pc.if_else(failed, error, nothing),
    }


def _places(books: Books) -> pa.Array:
    """int32: the row in `samples` of each clip; null where it has none."""
    samples, ids = books.samples, books.clips["clip_id"]
    if samples is None:
        return pa.nulls(len(ids), pa.int32())
    at = _where(samples["clip_id"], ids, "samples are of clips that shots did not make").to_numpy()
    rows = np.full(len(ids), -1, np.int32)
    rows[at] = np.arange(len(at))
    _refuse(pa.array(rows[at] != np.arange(len(at))), samples["clip_id"], "clips are in the tars twice")
    return pa.array(rows, mask=rows < 0)


def _counts(of: np.ndarray, videos: int, clips: pa.Table) -> dict[str, np.ndarray]:
    """By video, int64 [V]: clips, and clips in each state; `reason`, object [V]: the most frequent of its clips."""
    counts = {"clips": np.bincount(of, minlength=videos)}
    for state in (KEPT, REJECTED, FAILED, PENDING):
        counts[state] = np.bincount(of[pc.equal(clips["state"], state).to_numpy()], minlength=videos)
    reasons = np.full(videos, None, dtype=object)
    rejected = pa.table({"of": of, "reason": clips["reason"]}).drop_null()
    often = rejected.group_by(["of", "reason"]).aggregate([([], "count_all")])
    # The most frequent last, so that it stays.
    often = often.sort_by([("count_all", "ascending"), ("reason", "descending")])
    reasons[often["of"].to_numpy()] = often["reason"].to_numpy()
    return {**counts, "reason": reasons}


def _video_states(
    unit_state: pa.ChunkedArray, error: pa.ChunkedArray, counts: dict[str, np.ndarray]
) -> tuple[pa.Array, pa.Array]:
    """A video is what the best of its clips is: kept, else pending, else rejected, else failed."""
    units = unit_state.to_numpy()
    state = np.select(
        [
            (units == FAILED) | pc.is_valid(error).to_numpy(),
            counts[KEPT] > 0,
            (units != DONE) | (counts[PENDING] > 0),
            (counts["clips"] == 0) | (counts[REJECTED] > 0),
        ],
        [FAILED, KEPT, PENDING, REJECTED],
        default=FAILED,
    )
    reason = np.where(counts["clips"] == 0, _NO_CLIP, counts["reason"])
    return pa.array(state, pa.string()), pa.array(reason, pa.string(), mask=state != REJECTED)


def _by_kind(rows: pa.Table, names: list[str]) -> pa.Table:
    """With errors that many share, so that each missing video is no line of its own."""
    told = kinds.of_errors(rows["error"], [rows[name] for name in names])
    return rows.set_column(rows.column_names.index("error"), "error", told)


def _line(step: str, rows: pa.Table) -> dict[str, Any]:
    """A line that counts the videos, or the clips and their videos."""
    line = _tally(step, rows, []).to_pylist()[0]
    return line if line["count"] else {**line, "hours": 0.0}


def _lost(step: str, rows: pa.Table, column: str | None) -> list[dict[str, Any]]:
    """A line for all rows, and one for each reason, the most frequent first."""
    if column is None:
        return [_line(step, rows)]
    parts = _tally(step, rows, [column]).sort_by([("count", "descending"), ("reason", "ascending")])
    return [_line(step, rows), *({**part, "reason": part["reason"] or "no reason given"} for part in parts.to_pylist())]


def _tally(step: str, rows: pa.Table, by: list[str]) -> pa.Table:
    """Rows of `FUNNEL`, and `count`, for each value of a column."""
    sums = rows.group_by(by).aggregate([([], "count_all"), ("video_id", "count_distinct"), ("duration_s", "sum")])
    count = pc.cast(sums["count_all"], pa.int64())
    return pa.table(
        {
            "step": pa.array([step] * sums.num_rows, pa.string()),
            "reason": sums[by[0]] if by else pa.nulls(sums.num_rows, pa.string()),
            "videos": sums["video_id_count_distinct"],
            "clips": pa.nulls(sums.num_rows, pa.int64()) if "clips" in rows.column_names else count,
            "hours": pc.round(pc.divide(sums["duration_s_sum"], 3600.0), 6),
            "count": count,
        }
    )


def _in_no_clip(shot_counts: pa.Table) -> list[dict[str, Any]]:
    """The hours of readable videos that are in no clip, by what became of them."""
    empty = {"step": "in no clip", "reason": None, "videos": None, "clips": None}
    hours = {text: (pc.sum(shot_counts[name]).as_py() or 0.0) / 3600 for name, text in _IN_NO_CLIP.items()}
    lines = [{**empty, "reason": text, "hours": round(value, 6)} for text, value in hours.items() if value]
    return [{**empty, "hours": round(sum(hours.values()), 6)}, *lines]


def _check_seconds(books: Books, videos: pa.Table, clips: pa.Table) -> None:
    """That every second of a readable video is in a clip or in what shots says it left out."""
    counted = books.shot_counts
    _refuse_twice(counted["video_id"], "videos were cut twice")
    at = _where(counted["video_id"], videos["video_id"], "videos were cut that were never frozen").to_numpy()
    of, seconds = clips["video_id"].to_numpy(), clips["duration_s"].to_numpy()
    made = np.bincount(of, weights=seconds, minlength=videos.num_rows)[at]
    number = videos["clips"].to_numpy()[at]
    tolerance = _TOLERANCE_S + 1e-6 * number
    _refuse(pa.array(number != counted["clips"].to_numpy()), counted["video_id"], "videos have lost or gained clips")
    _refuse(
        pa.array(np.abs(made - counted["clips_s"].to_numpy()) > tolerance),
        counted["video_id"],
        "videos have clips that are longer or shorter than shots says",
    )
    whole = videos["duration_s"].to_numpy()[at]
    parts = sum((counted[name].to_numpy() for name in _IN_NO_CLIP), counted["clips_s"].to_numpy())
    _refuse(pa.array(~(np.abs(whole - parts) <= tolerance)), counted["video_id"], "videos have seconds in no account")


def _check_places(books: Books, clips: pa.Table, final: bool) -> None:
    kept, packed, ids = pc.equal(clips["state"], KEPT), clips["packed"], books.clips["clip_id"]
    _refuse(pc.and_(packed, pc.invert(kept)), ids, "clips are in a tar and were not kept")
    if final:
        _refuse(pc.equal(clips["state"], PENDING), ids, "clips were never judged")
        if books.samples is not None:
            _refuse(pc.and_(kept, pc.invert(packed)), ids, "kept clips are in no tar")


def _column(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column, or nulls where no stage wrote it."""
    if name in table.column_names:
        return table[name]
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])


def _where(values: pa.ChunkedArray, among: pa.ChunkedArray, complaint: str) -> pa.Array | pa.ChunkedArray:
    """Row numbers of `values` in `among`, or MergeRefused."""
    at = align.rows_of(values, among)
    _refuse(pc.is_null(at), values, complaint)
    return at


def _refuse_twice(ids: pa.ChunkedArray, complaint: str) -> None:
    again = align.rows_of(ids, ids).to_numpy() != np.arange(len(ids))
    _refuse(pa.array(again), ids, complaint)


def _refuse(bad: pa.Array, ids: pa.ChunkedArray, complaint: str) -> None:
    """MergeRefused with the count and the first few names, if anything is bad."""
    guilty = ids.filter(pc.fill_null(bad, False))
    if len(guilty):
        more = " ..." if len(guilty) > 5 else ""
        raise MergeRefused(f"{len(guilty)} {complaint}: {', '.join(map(str, guilty[:5].to_pylist()))}{more}")
