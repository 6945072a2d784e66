"""Clips of a run as it stands, running or done: kept, rejected, failed and pending ones, with all that is known."""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import config, units
from hpc_curate import plan as plans
from hpc_curate.browse.catalogue import Catalogue, Collection, Kind, Progress, drawn
from hpc_curate.browse.media import Media, content_type
from hpc_curate.browse.renditions import POSTER_PX
from hpc_curate.clips import align
from hpc_curate.errors import BadInput, Blocked
from hpc_curate.io import delivery
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.plan import Plan
from hpc_curate.records import Video, on_disk, remote
from hpc_curate.report.thumbnails import small_pictures
from hpc_curate.run_folder import accounting, books
from hpc_curate.run_folder.gather import Gather
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State
from hpc_curate.sources import webdataset

_CLIP, _VIDEO = "clip", "video"
_IN_TAR = ["mp4_offset", "mp4_bytes"]


class RunClips(Collection):
    """One row for each clip, and one for each video without any; read anew each time somebody asks for a catalogue.

    Its videos are found as the plan says, unless another endpoint or profile is given. It goes on to the newest plan,
    unless it was told which one.
    """

    kind: Kind = "run"

    def __init__(self, of: str, settings: SourceSettings, plan: Plan, named: str | None = None) -> None:
        own = config.source(plan.settings)
        endpoint, profile = settings.endpoint or own.endpoint, settings.profile or own.profile
        super().__init__(of, replace(own, endpoint=endpoint, profile=profile))
        self.plan: Plan = plan
        self._named = named
        self._lock = threading.Lock()
        self._looked: _Looked | None = None

    def progress(self) -> Progress:
        looked = self._looked
        return Progress(looked.rows.num_rows if looked else 0, True)

    def catalogue(self, count: int | None = None, seed: int = 0) -> Catalogue:
        looked = self._look()
        shown = looked.rows.drop_columns([*_IN_TAR, "version"])
        return Catalogue(drawn(shown, count, seed), shown.num_rows, self)

    def look_again(self) -> None:
        newest = plans.load_latest(self.plan.paths.root, self._named)
        if books.has_clips(newest):
            with self._lock:
                self.plan = newest

    def media(self, id: str) -> Media:
        looked, row = self._row(id)
        if row["tar"] is not None and looked.data_set is not None and row["mp4_bytes"] is not None:
            uri = _joined(looked.data_set, row["tar"])
            return Media(uri, row["tar"], "video/mp4", row["mp4_offset"], row["mp4_bytes"])
        return self._of_source(row)

    def poster(self, id: str) -> bytes | None:
        """Of a clip that of its middle in the frame pack, of a video without clips the first of its file."""
        looked, row = self._row(id)
        if row["what"] == _VIDEO:
            return self._renditions.poster(id, self._of_source(row))
        return self._renditions.picture(id, lambda: self._from_pack(looked.state, row))

    def _from_pack(self, state: State, row: dict[str, Any]) -> bytes | None:
        id, video = row["id"], row["video_id"]
        try:
            frames = Reader(state, "shots", units.unit_of(self.plan.paths, {video})[video]).frames([id], 1)
            return small_pictures(frames, POSTER_PX).get(id)
        except Blocked:  # its unit is being made anew
            return None

    def _of_source(self, row: dict[str, Any]) -> Media:
        """The seconds of the video that a clip is, which nobody has encoded yet."""
        uri, name, known = row["uri"], row["name"], row["bytes"]
        span = (row["start_s"], row["end_s"])
        if uri.startswith("wds://"):
            tar, offset, inside = webdataset.place(Video(row["video_id"], uri, name, -1, row["version"] or ""))
            return Media(str(tar), tar.name, content_type(name), offset, inside, *span)
        if remote(uri) and not uri.startswith("s3://"):
            raise BadInput(f"{name}: it was fetched for its turn only and is not here")
        return Media(uri, name, content_type(name), 0, known if on_disk(uri) is None else None, *span)

    def _row(self, id: str) -> tuple[_Looked, dict[str, Any]]:
        looked = self._looked or self._look()
        return looked, looked.rows.slice(looked.at(id), 1).to_pylist()[0]

    def _look(self) -> _Looked:
        """What there is now; of several who ask at once each waits for the one before."""
        with self._lock:
            state = State(self.plan, Ledger(self.plan.paths))
            self._looked = _Looked(_rows(self.plan, state), state, state.data_set())
            return self._looked


class _Looked:
    """A run at one moment."""

    def __init__(self, rows: pa.Table, state: State, data_set: str | None) -> None:
        self.rows, self.state, self.data_set = rows, state, data_set
        self._ids = rows["id"].combine_chunks()
        self._order = pc.sort_indices(self._ids).to_numpy()

    def at(self, id: str) -> int:
        """The row of an id.

        Raises:
            KeyError: there is none.
        """
        place = bisect_left(self._order, id, key=lambda row: self._ids[int(row)].as_py())
        if place == len(self._order) or self._ids[int(self._order[place])].as_py() != id:
            raise KeyError(id)
        return int(self._order[place])


def _rows(plan: Plan, state: State) -> pa.Table:
    """Clips, then videos of which there is none: `id`, `name`, `what`, and every column of both."""
    found = books.read(plan)
    clips = accounting.clip_rows(found)
    videos = accounting.video_rows(found, clips)
    clips = _with_places(clips, plan, state)
    frozen = found.units.select(["video_id", "bytes", "version"])
    clips = _named(clips, "clip_id", _CLIP)
    barren = _named(videos.filter(pc.equal(videos["clips"], 0)), "video_id", _VIDEO)
    at = align.rows_of(clips["video_id"], frozen["video_id"])
    clips = _beside(clips, frozen.take(at))
    barren = _beside(barren, frozen.take(align.rows_of(barren["video_id"], frozen["video_id"])))
    rows = pa.concat_tables([clips, barren.drop_columns(["clips", "kept"])], promote_options="permissive")
    known = pc.if_else(pc.less(rows["bytes"], 0), pa.scalar(None, pa.int64()), rows["bytes"])
    return rows.set_column(rows.column_names.index("bytes"), "bytes", known)


def _named(rows: pa.Table, id: str, what: str) -> pa.Table:
    """The columns that every catalogue begins with, then the others."""
    first = {"id": rows[id], "name": rows["name"], "what": pa.array([what] * rows.num_rows, pa.string())}
    return pa.table({**first, **{name: rows[name] for name in rows.column_names if name not in first}})


def _beside(rows: pa.Table, others: pa.Table) -> pa.Table:
    """The columns of `others` that `rows` has not."""
    for name in others.column_names:
        if name not in rows.column_names:
            rows = rows.append_column(name, others[name])
    return rows


def _with_places(clips: pa.Table, plan: Plan, state: State) -> pa.Table:
    """Where in its tar the mp4 of each clip lies."""
    if "pack" not in plan.steps:
        nothing = pa.nulls(clips.num_rows, pa.int64())
        return clips.append_column(_IN_TAR[0], nothing).append_column(_IN_TAR[1], nothing)
    packed = Gather(state, state.finished).table("pack", "tars", ["clip_id", *_IN_TAR])
    rows = align.beside(clips["clip_id"].combine_chunks(), packed)
    return _beside(clips, rows.select(_IN_TAR))


def _joined(place: str, name: str) -> str:
    """A file of a data set: in a folder, or below a prefix, which ends with a slash."""
    return place + name if delivery.is_store(place) else str(Path(place) / name)
