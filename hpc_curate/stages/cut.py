"""Encodes the kept clips, cropped, into one clip store per unit, and checks each by decoding it again."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa

from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput
from hpc_curate.io import child, encode, remux
from hpc_curate.io.encode import Encoding, Made, Rectangle, Source, Wanted
from hpc_curate.records import Span, seconds, video_of
from hpc_curate.stage import Item, PerUnit, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

ROWS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("cut_bytes", pa.int64()),  # null: there is no mp4, see `error`
        ("cut_sha256", pa.string()),
        ("cut_mode", pa.string()),  # encode, copy; failed
        ("cut_start_s", pa.float64()),  # seconds after the first frame of the video; a copy may begin a little late
        ("cut_width", pa.int32()),
        ("cut_height", pa.int32()),
        ("cut_frames", pa.int32()),
        ("cut_duration_s", pa.float64()),
        ("error", pa.string()),
    ]
)
STORE = pa.schema([("clip_id", pa.string()), ("mp4", pa.large_binary())])

_CROP = ("crop_x", "crop_y", "crop_w", "crop_h")
_CLEAN = ("clean_x", "clean_y", "clean_w", "clean_h")
_SPAN = ("start_pts", "end_pts", "frame_count")
_ITEM_CLIPS = 32  # held in memory together, and lost at most when a task is killed
_NVENC_PRESETS = {f"p{number}" for number in range(1, 8)}
_COPIED = {"codec": "h264", "pix_fmt": "yuv420p", "rotation": 0, "interlaced": False, "hdr": False}


@dataclass(frozen=True)
class Cut(PerUnit):
    """Kept spans become mp4: H.264, 4:2:0, 8 bits, upright, square pixels, even sizes, named colours, index in front.

    The frames of a clip are exactly those whose pts lie in its span, at their own distances in time. With a processor
    of one kind, and with `codec=libx264`, the same settings make the same bytes; NVENC promises nothing of the kind.
    """

    name: ClassVar[str] = "cut"
    version: ClassVar[int] = 2
    incremental: ClassVar[bool] = True
    row_group: ClassVar[dict[str, int]] = {"store": 1}

    # copy takes the packets of clips that begin with a keyframe as they are, and fails others; auto encodes the others.
    mode: Literal["encode", "copy", "auto"] = "encode"
    copy_tolerance_s: float = 0.0  # how much later than the clip its keyframe may come
    codec: Literal["libx264", "h264_nvenc"] = "libx264"
    crf: int = 20  # the cq of h264_nvenc
    preset: str = "veryfast"  # p1 (fast) to p7 for h264_nvenc
    gop_s: float = 1.0  # between keyframes at most: a reader that seeks decodes no more than this
    threads: int = 1  # of the encoder; x264 writes other bytes for another number
    audio: Literal["drop", "keep"] = "drop"
    crop: bool = True  # away what the measure `borders` found
    overlays: bool = False  # crop to what the stage `overlays` leaves, where that is known
    max_short_side_px: int | None = None  # larger pictures are made smaller; null: none is
    interlaced: Literal["deinterlace", "reject"] = "deinterlace"
    hdr: Literal["tonemap", "reject"] = "tonemap"

    def __post_init__(self) -> None:
        if (self.codec == "h264_nvenc") != (self.preset in _NVENC_PRESETS):
            raise ValueError(f"preset {self.preset} is none of {self.codec}'s; h264_nvenc has p1 (fast) to p7")
        if self.threads < 1 or self.gop_s <= 0 or self.copy_tolerance_s < 0:
            raise ValueError("threads must be at least 1, gop_s above 0 and copy_tolerance_s not below 0")
        if self.max_short_side_px is not None and self.max_short_side_px < 2:
            raise ValueError("max_short_side_px must be at least 2")

    def reads(self) -> tuple[str, ...]:
        return ("videos", *self._columns())

    def _columns(self) -> tuple[str, ...]:
        """Of a clip: its span, and the rectangles to crop it to."""
        return (*_SPAN, *(_CROP if self.crop else ()), *(_CLEAN if self.overlays else ()))

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": ROWS, "store": STORE}

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterator[Item]:
        by_video: dict[str, list[str]] = {video.video_id: [] for video in inputs.videos()}  # as they are fetched
        for clip in asked:
            by_video[video_of(clip)].append(clip)
        for video, clips in by_video.items():
            for number, start in enumerate(range(0, len(clips), _ITEM_CLIPS)):
                yield Item(f"{video}-{number:04d}", tuple(clips[start : start + _ITEM_CLIPS]))

    def process(self, model: None, inputs: Inputs, item: Item) -> Tables:
        name = video_of(item.ids[0])
        video = next(video for video in inputs.videos() if video.video_id == name)
        facts = next(row for row in inputs.table("videos").to_pylist() if row["video_id"] == name)
        self._refuse(facts)
        to_cut = _to_cut(inputs)
        path = inputs.source(video, lambda one: one.video_id in to_cut)
        clips = inputs.clips(self._columns(), item.ids).to_pylist()
        # One encoder per clip, and as many clips at once as there are cores.
        at_once = max(1, inputs.resources.cpus // self.threads)
        made = child.in_threads(lambda clip: self._clip(facts, path, clip, inputs.scratch()), clips, at_once)
        return self._tables([row for row, _ in made], [data for _, data in made])

    def failed(self, item: Item, error: str) -> Tables:
        return self._tables([_failed(clip, error) for clip in item.ids], [None] * len(item.ids))

    def _tables(self, rows: list[dict[str, Any]], data: list[bytes | None]) -> Tables:
        stored = [(row["clip_id"], mp4) for row, mp4 in zip(rows, data, strict=True) if mp4 is not None]
        store = {"clip_id": [clip for clip, _ in stored], "mp4": [mp4 for _, mp4 in stored]}
        return {"rows": pa.Table.from_pylist(rows, schema=ROWS), "store": pa.table(store, schema=STORE)}

    def _refuse(self, facts: dict[str, Any]) -> None:
        if facts["hdr"] and self.hdr == "reject":
            raise BadInput("the video is HDR; reject it earlier, or set stage.cut.hdr=tonemap")
        if facts["interlaced"] and self.interlaced == "reject":
            raise BadInput("the video is interlaced; reject it earlier, or set stage.cut.interlaced=deinterlace")

    def _clip(
        self, facts: dict[str, Any], path: Path, clip: dict[str, Any], scratch: Path
    ) -> tuple[dict[str, Any], bytes | None]:
        """The row of one clip, and its mp4."""
        source, wanted = _source(facts, path), self._wanted(facts, clip)
        out = scratch / f"{clip['clip_id']}.mp4"
        try:
            mode, made = self._made(facts, source, wanted, out)
            with environment_faults(out.name):
                mp4 = out.read_bytes()
        except BadInput as error:
            return _failed(clip["clip_id"], str(error)), None
        finally:
            out.unlink(missing_ok=True)
        row = {
            "clip_id": clip["clip_id"],
            "cut_bytes": len(mp4),
            "cut_sha256": hashlib.sha256(mp4).hexdigest(),
            "cut_mode": mode,
            "cut_start_s": seconds(made.first_pts - source.start_pts, source.time_base),
            "cut_width": made.width,
            "cut_height": made.height,
            "cut_frames": made.frames,
            "cut_duration_s": made.duration_s,
        }
        return row, mp4

    def _made(self, facts: dict[str, Any], source: Source, wanted: Wanted, out: Path) -> tuple[str, Made]:
        if min(wanted.picture.width, wanted.picture.height) < 2:
            raise BadInput("nothing is left of the picture after cropping")
        encoding = self._encoding()
        if self.mode != "encode":
            try:
                self._refuse_copy(facts, wanted)
                return "copy", remux.copy(source, wanted, encoding, out, self.copy_tolerance_s)
            except BadInput:
                if self.mode == "copy":
                    raise
        return "encode", encode.encode(source, wanted, encoding, out)

    def _encoding(self) -> Encoding:
        same = {field.name for field in dataclasses.fields(Encoding)} - {"audio"}
        return Encoding(audio=self.audio == "keep", **{name: getattr(self, name) for name in same})

    def _refuse_copy(self, facts: dict[str, Any], wanted: Wanted) -> None:
        """A copy has the picture of the source, so that must be what an encode would make."""
        for fact, needed in _COPIED.items():
            if facts[fact] != needed:
                raise BadInput(f"a copy needs {fact} {needed}, the video has {facts[fact]}")
        coded = Rectangle(0, 0, facts["coded_width"], facts["coded_height"])
        limit = self.max_short_side_px
        if wanted.picture != coded or (limit and min(coded.width, coded.height) > limit):
            raise BadInput("a copy cannot crop or scale the picture")

    def _wanted(self, facts: dict[str, Any], clip: dict[str, Any]) -> Wanted:
        picture = Rectangle(0, 0, facts["width"], facts["height"])
        for wanted, sides in ((self.crop, _CROP), (self.overlays, _CLEAN)):
            if wanted and clip[sides[2]] is not None:
                picture = Rectangle(*(clip[name] for name in sides))
        span = Span(clip["start_pts"], clip["end_pts"])
        return Wanted(span, clip["frame_count"], encode.even_inside(picture))


def _to_cut(inputs: Inputs) -> set[str]:
    """The videos of the unit with clips that are asked for and not here."""
    done = set(inputs.earlier("rows")["clip_id"].to_pylist())
    return {video_of(clip) for clip in inputs.kept() if clip not in done}


def _source(facts: dict[str, Any], path: Path) -> Source:
    return Source(
        path,
        facts["container"],
        Fraction(facts["time_base_num"], facts["time_base_den"]),
        facts["start_pts"],
        facts["width"],
        facts["height"],
        interlaced=facts["interlaced"],
        hdr=facts["hdr"],
        primaries=facts["color_primaries"],
        transfer=facts["color_transfer"],
        matrix=facts["color_space"],
        has_audio=facts["audio_codec"] is not None,
    )


def _failed(clip: str, error: str) -> dict[str, Any]:
    return {"clip_id": clip, "cut_mode": "failed", "error": error}
