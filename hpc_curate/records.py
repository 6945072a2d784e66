"""The rows of the line: videos, clips, their ids and the schemas of the shared tables."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")

# What units.py freezes: one row per video, sorted by unit.
UNITS = pa.schema(
    [
        ("unit", pa.int32()),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("name", pa.string()),  # relative to the input root: the only name that reaches a sample
        ("bytes", pa.int64()),
        ("version", pa.string()),  # mtime in ns or ETag; a source that changed is an error
        ("extra", pa.string()),  # JSON of the input table's other columns
    ]
)

# What scan knows about a video. Sizes are in display orientation: after rotation and pixel aspect.
VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("name", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),  # null unless a checksum was asked for
        ("container", pa.string()),
        ("codec", pa.string()),
        ("profile", pa.string()),
        ("pix_fmt", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("coded_width", pa.int32()),
        ("coded_height", pa.int32()),
        ("rotation", pa.int32()),  # degrees clockwise that a player applies
        ("sar_num", pa.int32()),
        ("sar_den", pa.int32()),
        ("fps_num", pa.int32()),
        ("fps_den", pa.int32()),
        ("time_base_num", pa.int32()),
        ("time_base_den", pa.int32()),
        ("start_pts", pa.int64()),  # of the first decoded frame, in time base ticks
        ("end_pts", pa.int64()),  # of the last decoded frame plus its duration
        ("frames", pa.int64()),  # decoded, counted
        ("duration_s", pa.float64()),
        ("bits_per_pixel", pa.float64()),  # source bytes * 8 / (frames * width * height)
        ("interlaced", pa.bool_()),
        ("hdr", pa.bool_()),  # PQ or HLG transfer
        ("color_primaries", pa.string()),
        ("color_transfer", pa.string()),
        ("color_space", pa.string()),
        ("color_range", pa.string()),
        ("audio_codec", pa.string()),  # null: no audio
        ("damage", pa.string()),  # what on_damage=keep_prefix accepted; null: none
        ("error", pa.string()),
    ]
)

# One row per series of a video; the row named "pts" of a grid carries the time of all its others.
SERIES = pa.schema(
    [
        ("video_id", pa.string()),
        ("piece", pa.string()),  # the measure or cutter that made it
        ("name", pa.string()),
        ("grid", pa.string()),  # which frames: small, native
        ("dim", pa.int32()),  # values per frame
        ("pts", pa.list_(pa.int64())),
        ("values", pa.list_(pa.float32())),
    ]
)

# The frame pack: JPEGs on a time grid, sorted by video and pts.
FRAMES = pa.schema(
    [
        ("video_id", pa.string()),
        ("pts", pa.int64()),
        ("time_s", pa.float64()),  # seconds after the first frame
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("jpeg", pa.large_binary()),
    ]
)

# The rows that shots makes; the columns of the measures stand beside these.
CLIPS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("start_pts", pa.int64()),
        ("end_pts", pa.int64()),  # exclusive
        ("start_s", pa.float64()),  # seconds after the first frame of the video
        ("end_s", pa.float64()),
        ("duration_s", pa.float64()),
        ("frame_count", pa.int32()),
        ("fps", pa.float64()),
        ("width", pa.int32()),  # of the picture, before any crop
        ("height", pa.int32()),
        ("bits_per_pixel", pa.float64()),
        ("interlaced", pa.bool_()),
        ("hdr", pa.bool_()),
        ("has_audio", pa.bool_()),
        ("codec", pa.string()),
    ]
)

_TEXTS = 1 << 16  # that are Python's at a time

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,96}\Z")


@dataclass(frozen=True)
class Video:
    """One source as it was frozen into a unit."""

    video_id: str
    uri: str
    name: str
    bytes: int
    version: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """A stretch of a video in the stream's own ticks; `end_pts` is exclusive."""

    start_pts: int
    end_pts: int


def video_id(uri: str) -> str:
    """20 hex digits of the SHA-256 of the URI."""
    return hashlib.sha256(uri.encode()).hexdigest()[:20]


def clip_id(video: str, span: Span) -> str:
    """The video and the span in the stream's own ticks: `<video_id>_<start>_<end>`."""
    return f"{video}_{span.start_pts}_{span.end_pts}"


def video_of(clip: str) -> str:
    """The video_id inside a clip_id."""
    return clip.split("_", 1)[0]


def local_uri(path: str | os.PathLike[str]) -> str:
    """A path as a URI: itself where it is printable UTF-8, else percent-encoded `file://`."""
    text = os.fspath(path)
    if text.isprintable() and not text.startswith("file://"):
        return text
    return "file://" + urllib.parse.quote(os.fsencode(text))


def remote(uri: str) -> bool:
    """Whether it has to be fetched: it is no path, and no file:// either."""
    found = _SCHEME.match(uri)
    return found is not None and found[1] != "file"


def on_disk(uri: str) -> str | None:
    """The path of the file that a video lies in, which may be a tar (wds://); None: it comes over a network."""
    if uri.startswith("wds://"):
        return os.fsdecode(urllib.parse.unquote_to_bytes(uri[len("wds://") :].partition("#")[0]))
    return None if remote(uri) else local_path(uri)


def local_path(uri: str) -> str:
    """The inverse of `local_uri`."""
    if uri.startswith("file://"):
        return os.fsdecode(urllib.parse.unquote_to_bytes(uri[len("file://") :]))
    return uri


def licence_of(extra: Mapping[str, Any]) -> str | None:
    """What the input says of a video's licence, in a column of either spelling."""
    return next((str(extra[name]) for name in ("licence", "license") if extra.get(name) not in (None, "")), None)


def seconds(ticks: int, time_base: Fraction) -> float:
    """Ticks to seconds, rounded to a microsecond so that every machine says the same."""
    return round(float(ticks * time_base), 6)


def digest(*parts: Any) -> str:
    """16 hex digits over the canonical JSON of `parts`."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_texts(texts: pa.Array | pa.ChunkedArray) -> str:
    """`digest` of the sorted list of some texts, of which there may be ten millions."""
    ordered, total = texts.take(pc.sort_indices(texts)), hashlib.sha256(b"[[")
    for start in range(0, len(ordered), _TEXTS):
        block = json.dumps(ordered[start : start + _TEXTS].to_pylist(), separators=(",", ":"))
        total.update((block[1:-1] if start == 0 else f",{block[1:-1]}").encode())
    total.update(b"]]")
    return total.hexdigest()[:16]
