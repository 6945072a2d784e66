"""fetch: bring videos from stores and from the web into the run folder, once, with their provenance."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.errors import BadInput, Unavailable
from hpc_curate.inputs import Inputs
from hpc_curate.io.tables import size_and_sha256
from hpc_curate.records import Video, licence_of
from hpc_curate.stage import Item, PerUnit, Resources, Tables

_VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),  # of the source, not of the file that is made
        ("source_uri", pa.string()),
        ("name", pa.string()),
        ("path", pa.string()),  # below the run folder, named by content: what came twice is there once
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("licence", pa.string()),
        ("fetched_at", pa.string()),  # UTC
        ("fetched_with", pa.string()),
        ("extra", pa.string()),  # JSON: what the source said, and the input table's other columns
        ("reason", pa.string()),  # why it was not asked for; null: it was
        ("error", pa.string()),
        ("again", pa.bool_()),  # whether `retry` asks for it again: the source did not answer, or refused us
    ]
)


@dataclass(frozen=True)
class Fetch(PerUnit):
    """One item is one video. Give the run folder as `input=` of the run that curates.

    What cannot be had costs one row with an `error`; a licence that is not allowed one with a `reason`. A unit that
    `retry` has done again keeps what came, and asks for what may come another time.
    """

    name: ClassVar[str] = "fetch"
    version: ClassVar[int] = 2

    have: str | None = None  # an earlier run folder of fetch: what came there is taken from there
    licences: tuple[str, ...] = ()  # the only ones that are kept, in any case; none: any

    def writes(self) -> dict[str, pa.Schema]:
        return {"videos": _VIDEOS}

    def settings(self) -> dict[str, Any]:
        return {"licences": self.licences}

    def load(self, resources: Resources) -> dict[str, dict[str, Any]]:
        """What came before, by its URI."""
        if self.have is None:
            return {}
        from hpc_curate.sources import fetched  # which reads run folders, whose plans know this stage

        return fetched.by_uri(Path(self.have))

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterable[Item]:
        return [Item(video.video_id, (video.video_id,)) for video in inputs.videos()]

    def process(self, model: dict[str, dict[str, Any]], inputs: Inputs, item: Item) -> Tables:
        if (done := _done(inputs, item.key)) is not None:
            return {"videos": done}
        video = next(video for video in inputs.videos() if video.video_id == item.key)
        row: dict[str, Any] = {"video_id": video.video_id, "source_uri": video.uri, "extra": json.dumps(video.extra)}
        row |= {"name": video.name.rpartition("/")[2], "licence": licence_of(video.extra)}
        row["reason"] = self._refused(inputs, video)
        if row["reason"]:
            return _table(row)
        try:
            before = self._before(model, inputs, video)
            path = before["file"] if before else inputs.source(video, partial(self._asks_for, model, inputs))
            said = before["said"] if before else inputs.said(video)
            row["licence"] = row["licence"] or licence_of(said)
            row["reason"] = self._reason(row["licence"])
            return _table({**row, **({} if row["reason"] else _kept(inputs, video, path, said))})
        except BadInput as error:
            return _table({**row, "error": str(error)})
        except Unavailable as error:
            return _table({**row, "error": str(error), "again": True})

    def _asks_for(self, model: dict[str, dict[str, Any]], inputs: Inputs, video: Video) -> bool:
        """Whether its source is asked for a video of this unit when its turn comes."""
        if self._refused(inputs, video) or _done(inputs, video.video_id) is not None:
            return False
        return self._before(model, inputs, video) is None

    def _before(self, model: dict[str, dict[str, Any]], inputs: Inputs, video: Video) -> dict[str, Any] | None:
        """The `file` of a video that came before, also under another allow-list, and what was `said` of it."""
        have = model.get(video.uri)
        if have and have["file"].is_file():
            return have
        rows = inputs.under_other_settings("videos")
        rows = rows.filter(pc.and_(pc.equal(rows["video_id"], video.video_id), pc.is_valid(rows["path"])))
        found = ((inputs.kept_file(row["path"], row["bytes"]), row) for row in rows.to_pylist())
        return next(({"file": file, "said": said_of(row)} for file, row in found if file), None)

    def _refused(self, inputs: Inputs, video: Video) -> str | None:
        """Why a video is not asked for; of a licence that may come with it nothing can be said yet."""
        licence = licence_of(video.extra)
        return self._reason(licence) if licence or not inputs.tells_licence(video) else None

    def _reason(self, licence: str | None) -> str | None:
        if not self.licences or (licence or "").casefold() in {allowed.casefold() for allowed in self.licences}:
            return None
        return f"licence {licence} is not allowed" if licence else "no licence is named"

    def failed(self, item: Item, error: str) -> Tables:
        return _table({"video_id": item.key, "error": error, "again": True})  # its workers died: no word about it


def _done(inputs: Inputs, video_id: str) -> pa.Table | None:
    """The row of a video in a unit that is done again, if nothing more can come of it."""
    rows = inputs.earlier("videos")
    rows = rows.filter(pc.equal(rows["video_id"], video_id))
    if not rows.num_rows or rows["again"][0].as_py():
        return None
    path, size = rows["path"][0].as_py(), rows["bytes"][0].as_py()
    return rows if path is None or inputs.kept_file(path, size) else None


def said_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the source said of a video that came, with `fetched_with` and `fetched_at`, from its row."""
    own = ("licence", "fetched_with", "fetched_at")
    return {**json.loads(row["extra"]), **{name: row[name] for name in own}}


def _table(row: dict[str, Any]) -> Tables:
    return {"videos": pa.Table.from_pylist([row], schema=_VIDEOS)}


def _kept(inputs: Inputs, video: Video, path: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Where the file is from now on, and how it came there.

    Raises:
        BadInput: it is not what the table says.
    """
    size, sha256 = size_and_sha256(path)
    wanted = video.extra.get("sha256")
    if wanted and str(wanted).lower() != sha256:
        raise BadInput(f"{video.name}: what came has the SHA-256 {sha256}, the input says {wanted}")
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    told = {name: value for name, value in said.items() if name not in ("fetched_with", "fetched_at", "licence")}
    return {
        "path": inputs.keep(path, sha256),
        "bytes": size,
        "sha256": sha256,
        "fetched_at": said.get("fetched_at", now),
        "fetched_with": said.get("fetched_with", "copy"),
        "extra": json.dumps({**told, **video.extra}),
    }
