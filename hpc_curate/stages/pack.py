"""Copies the encoded clips into WebDataset tars, each with what is known of it. Nothing is encoded here."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.errors import ConfigError, UnitFailed
from hpc_curate.io.tables import write_bytes
from hpc_curate.io.tars import Tar, write_tar
from hpc_curate.records import Video, digest
from hpc_curate.stage import Item, PerUnit, Resources, Tables
from hpc_curate.stages.shard import Layout

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs
    from hpc_curate.io.delivery import Delivery

TARS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("tar", pa.string()),  # file name; where the layout has no tars, the mp4
        ("offset", pa.int64()),  # where the sample begins in the tar, with the header of its first file
        ("bytes", pa.int64()),  # of the whole sample: this range of the tar is itself a tar
        ("sha256", pa.string()),  # of that range
        ("mp4_offset", pa.int64()),  # where the data of the mp4 begin in the tar
        ("mp4_bytes", pa.int64()),
        ("tar_bytes", pa.int64()),
        ("tar_sha256", pa.string()),
    ]
)

DIGITS = 6  # after the point, of every number in a json

_EVERY_COLUMN = "*"
_FILES_OF = 256  # clips to an item, where the layout has no tars
# What selection says of every clip that was kept, and what became of the encoded clip is said under its usual names.
# What says nothing of the clip itself, or depends on how the input was dealt to units.
_LEFT_OUT = {"keep", "state", "reason", "duplicate_of", "gate_keep", "gate_reason", "cut_bytes", "cut_sha256", "unit"}
_LEFT_OUT |= {f"{stage}_{kind}_tokens" for stage in ("caption", "vlm") for kind in ("input", "output")}
_OF_THE_SOURCE = {"has_audio": "source_has_audio"}  # whether the mp4 has it too is a setting of cut
_LISTS = {"captions"}
_AS_ENCODED = {"start_s": "cut_start_s", "duration_s": "cut_duration_s", "frame_count": "cut_frames"}
_AS_ENCODED |= {"width": "cut_width", "height": "cut_height"}


@dataclass(frozen=True)
class Pack(PerUnit):
    """One sample is an mp4 and a json, an npy where the clip has an embedding, and a txt where it has a caption.

    The layout cosmos_predict has files instead of tars, `<split>/videos/<clip>.mp4` and `<split>/metas/<clip>.txt`.

    The json has every clip column that is one number, text or truth value, and the list `captions` (variant, start_s,
    end_s, text), with floats rounded to 6 digits after the point; `start_s`, `duration_s`, `frames`, `width` and
    `height` are those of the mp4, and `source_width` and `source_height` those of the video. `source` is the video's
    name below the input folder; `extra` holds the other columns of the user's own table.
    """

    name: ClassVar[str] = "pack"
    units_from: ClassVar[str | None] = "shard"

    embedding: str | None = "embedding"  # the column that becomes the npy, where the recipe has it; null: none
    caption: str | None = "caption"  # the column that becomes the txt, where the recipe has it; null: none
    layout: Layout = "webdataset"  # by the group `pack`
    output: str | None = None  # the setting of the run: what went to one place is not yet in another

    def __post_init__(self) -> None:
        if self.layout == "cosmos_predict" and self.caption is None:
            raise ConfigError("pack=cosmos_predict is videos with captions: stage.pack.caption names their column")

    def reads(self) -> tuple[str, ...]:
        captions = (self.caption,) if self.layout == "cosmos_predict" and self.caption else ()
        return (_EVERY_COLUMN, *captions, "samples", "store")

    def writes(self) -> dict[str, pa.Schema]:
        return {"tars": TARS}

    def load(self, resources: Resources) -> Group:
        return Group()

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterator[Item]:
        """One for each tar of the group; its ids are the clips in the order of the tar."""
        samples = Group.samples_of(inputs)
        if self.layout != "webdataset":
            ids = samples["clip_id"].to_pylist()
            for start in range(0, len(ids), _FILES_OF):
                some = tuple(ids[start : start + _FILES_OF])
                yield Item(digest(some), some)
            return
        for tar in sorted(pc.unique(samples["tar"]).to_pylist()):
            mine = samples.filter(pc.equal(samples["tar"], tar)).sort_by("position")
            yield Item(tar, tuple(mine["clip_id"].to_pylist()))

    def process(self, model: Group, inputs: Inputs, item: Item) -> Tables:
        model.read(inputs)
        samples = self._samples(model, inputs, item)
        if self.layout != "webdataset":
            return {"tars": _files(samples, inputs.delivery())}
        tar = inputs.delivery().put(item.key, lambda path: write_tar(path, samples))
        return {"tars": _rows(item.key, tar)}

    def publishes(self, inputs: Inputs) -> list[Path]:
        names = pc.unique(Group.samples_of(inputs)["tar"]).to_pylist()
        return inputs.delivery().proofs([*names, *(meta(name) for name in names if not name.endswith(".tar"))])

    def _samples(self, group: Group, inputs: Inputs, item: Item) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Name and files of each sample: in a tar the key, else the file of the mp4."""
        for (clip, mp4), row in zip(inputs.blobs("store", item.ids), group.rows(item.ids), strict=True):
            if clip != row["clip_id"] or hashlib.sha256(mp4).hexdigest() != row["cut_sha256"]:
                raise UnitFailed(f"{item.key}: what the store has of {clip} is not what cut wrote of {row['clip_id']}")
            name = row["key"] if self.layout == "webdataset" else f"{row['split']}/videos/{row['key']}.mp4"
            yield name, self.files(row, group.videos[row["video_id"]], mp4)

    def files(self, row: dict[str, Any], video: Video, mp4: bytes) -> dict[str, bytes]:
        """The files of one sample by extension, in the order of the tar."""
        files = {"mp4": mp4, "json": as_json(self._described(row, video))}
        vector = row.get(self.embedding) if self.embedding else None
        if vector is not None:
            file = io.BytesIO()
            np.save(file, np.asarray(vector, np.float16), allow_pickle=False)
            files["npy"] = file.getvalue()
        caption = row.get(self.caption) if self.caption else None
        if caption is not None:
            files["txt"] = caption.encode()
        return files

    def _described(self, row: dict[str, Any], video: Video) -> dict[str, Any]:
        plain = {
            _OF_THE_SOURCE.get(name, name): value
            for name, value in row.items()
            if (isinstance(value, bool | int | float | str | None) or name in _LISTS) and name not in _LEFT_OUT
        }
        sizes = {"source_width": row["width"], "source_height": row["height"]}
        encoded = {name: plain.pop(column) for name, column in _AS_ENCODED.items()}
        return {**plain, **sizes, **encoded, "source": video.name, "extra": video.extra}


@dataclass
class Group:
    """What a task has read of its group. The columns of its clips are spread over all units: they are read once."""

    unit: int | None = None
    videos: dict[str, Video] = field(default_factory=dict)
    _clips: pa.Table = field(default_factory=lambda: pa.table({}))

    @staticmethod
    def samples_of(inputs: Inputs) -> pa.Table:
        samples = inputs.table("samples")
        return samples.filter(pc.equal(samples["group"], inputs.unit)).drop_columns(["group"])

    def read(self, inputs: Inputs) -> None:
        """Read the group that `inputs` is for, unless it is the one at hand."""
        if self.unit == inputs.unit:
            return
        samples = self.samples_of(inputs)
        clips = _shortest_floats(inputs.clips([_EVERY_COLUMN], samples["clip_id"].to_pylist()))
        for name in ("key", "split", "bucket"):
            clips = clips.append_column(name, samples[name])
        wanted = set(clips["video_id"].to_pylist())
        self.videos = {video.video_id: video for video in inputs.videos() if video.video_id in wanted}
        self.unit, self._clips = inputs.unit, clips

    def rows(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The columns of each clip, in the order of `ids`."""
        at = pc.index_in(pa.array(ids), value_set=self._clips["clip_id"].combine_chunks())
        for batch in self._clips.take(at).to_batches(max_chunksize=256):
            yield from batch.to_pylist()


def as_json(value: dict[str, Any]) -> bytes:
    """The same bytes for the same values: sorted, rounded, ASCII, and null for what JSON has no number for."""
    return json.dumps(_rounded(value), sort_keys=True, allow_nan=False).encode() + b"\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0 if math.isfinite(value) else None
    return value


def _rows(name: str, tar: Tar) -> pa.Table:
    rows = []
    for sample in tar.samples:
        mp4 = next(member for member in sample.members if member.extension == "mp4")
        rows.append(
            {
                "clip_id": sample.key,
                "tar": name,
                "offset": sample.offset,
                "bytes": sample.bytes,
                "sha256": sample.sha256,
                "mp4_offset": mp4.offset,
                "mp4_bytes": mp4.bytes,
                "tar_bytes": tar.bytes,
                "tar_sha256": tar.sha256,
            }
        )
    return pa.Table.from_pylist(rows, schema=TARS)


def meta(video: str) -> str:
    """The file with the caption of an mp4, in the layout cosmos_predict."""
    return video.replace("/videos/", "/metas/").removesuffix(".mp4") + ".txt"


def _files(samples: Iterator[tuple[str, dict[str, bytes]]], delivery: Delivery) -> pa.Table:
    """Publish each sample as files; the caption first, so that a video that is there has its caption."""
    rows = []
    for name, files in samples:
        for path, data in ((meta(name), files["txt"]), (name, files["mp4"])):
            delivery.put(path, partial(write_bytes, data=data))
        size, checksum = len(files["mp4"]), hashlib.sha256(files["mp4"]).hexdigest()
        place = {"offset": 0, "bytes": size, "sha256": checksum, "mp4_offset": 0, "mp4_bytes": size}
        whole = {"tar_bytes": size, "tar_sha256": checksum}
        rows.append({"clip_id": PurePosixPath(name).stem, "tar": name, **place, **whole})
    return pa.Table.from_pylist(rows, schema=TARS)


def _shortest_floats(rows: pa.Table) -> pa.Table:
    """float32 as the shortest number that means it: 23.86, not 23.860001."""
    for at, column in enumerate(rows.schema):
        if pa.types.is_float32(column.type):
            rows = rows.set_column(at, column.name, rows[column.name].cast(pa.string()).cast(pa.float64()))
    return rows
