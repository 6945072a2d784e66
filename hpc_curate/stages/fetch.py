"""fetch: bring videos from stores and from the web into the run folder, once, with their provenance."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from hpc_curate import __version__
from hpc_curate.errors import BadInput
from hpc_curate.inputs import Inputs
from hpc_curate.io.tables import size_and_sha256
from hpc_curate.records import Video, licence_of
from hpc_curate.stage import Item, PerUnit, Tables

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
        ("extra", pa.string()),  # JSON of the input table's other columns
        ("reason", pa.string()),  # why it was not asked for; null: it was
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class Fetch(PerUnit):
    """One item is one video. Give the run folder as `input=` of the run that curates.

    What cannot be had costs one row with an `error`; a licence that is not allowed one with a `reason`.
    """

    name: ClassVar[str] = "fetch"

    licences: tuple[str, ...] = ()  # the only ones that are fetched; none named: any, and unknown ones

    def writes(self) -> dict[str, pa.Schema]:
        return {"videos": _VIDEOS}

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterable[Item]:
        return [Item(video.video_id, (video.video_id,)) for video in inputs.videos()]

    def process(self, model: Any, inputs: Inputs, item: Item) -> Tables:
        video = next(video for video in inputs.videos() if video.video_id == item.key)
        licence = licence_of(video.extra)
        row: dict[str, Any] = {
            "video_id": video.video_id,
            "source_uri": video.uri,
            "name": video.name.rpartition("/")[2],
            "licence": licence,
            "extra": json.dumps(video.extra),
        }
        if self.licences and licence not in self.licences:
            reason = f"licence {licence} is not allowed" if licence else "no licence is named"
            return _table({**row, "reason": reason})
        try:
            return _table({**row, **_fetched(inputs, video)})
        except BadInput as error:
            return _table({**row, "error": str(error)})

    def failed(self, item: Item, error: str) -> Tables:
        return _table({"video_id": item.key, "error": error})


def _table(row: dict[str, Any]) -> Tables:
    return {"videos": pa.Table.from_pylist([row], schema=_VIDEOS)}


def _fetched(inputs: Inputs, video: Video) -> dict[str, Any]:
    """Where the file is now, and how it came there.

    Raises:
        BadInput: it cannot be had, or it is not what the table says.
    """
    path = inputs.source(video)
    size, sha256 = size_and_sha256(path)
    wanted = video.extra.get("sha256")
    if wanted and str(wanted).lower() != sha256:
        raise BadInput(f"{video.name}: what came has the SHA-256 {sha256}, the input says {wanted}")
    return {
        "path": inputs.keep(path, sha256),
        "bytes": size,
        "sha256": sha256,
        "fetched_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "fetched_with": f"hpc_curate {__version__}",
    }
