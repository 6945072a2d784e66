"""What plays in a tile: the beginning of a video, decoded; or a clip of a run, from its frame pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate import sources
from hpc_curate import units as run_units
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io import child
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.nearest import nearest
from hpc_curate.plan import Plan
from hpc_curate.preview import sample
from hpc_curate.preview.mosaic import Layout
from hpc_curate.records import Video, video_id
from hpc_curate.run_folder import accounting, books
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State

_ALL_FRAMES = 1 << 20  # more than any clip has in its pack
_FOLDER = "folder"
_MOST = 8  # names in a message


@dataclass(frozen=True)
class Tile:
    """Something that may be shown."""

    name: str
    facts: dict[str, Any]  # that lead from the tile back to its file
    pictures: Callable[[Layout], Iterator[np.ndarray]] = field(repr=False)  # uint8 [H, W, 3]; raises BadInput
    stratum: str = ""  # what it was taken for


@dataclass(frozen=True)
class Wanted:
    """What is looked for."""

    seed: int = 0
    by: str | None = None  # strata: of videos `folder`, of clips a column; numbers go by fifths
    where: tuple[tuple[str, str], ...] = ()  # columns of clips that must have these values, such as state=kept


def of_videos(given: str, settings: SourceSettings, fetcher: Fetcher, wanted: Wanted) -> list[Tile]:
    """The videos of a folder, a list, a table or s3://bucket/prefix, in the order in which they are tried.

    Raises:
        ConfigError: there are none, or they have no such strata.
    """
    if wanted.by not in (None, _FOLDER):
        raise ConfigError(f"videos that have not been curated can be taken --by {_FOLDER} only, not by {wanted.by}")
    if wanted.where:
        raise ConfigError("--where is for the clips of a run; these videos have no columns yet")
    rows = sources.entries(given, settings).to_pylist()
    strata = [row["name"].rpartition("/")[0] if wanted.by else "" for row in rows]
    return [_of_video(rows[at], fetcher) for at in sample.order(strata, wanted.seed)]


def _of_video(row: dict[str, Any], fetcher: Fetcher) -> Tile:
    video = Video(video_id(row["uri"]), row["uri"], row["name"], row["bytes"], row["version"])

    def pictures(layout: Layout) -> Iterator[np.ndarray]:
        return decoded(fetcher.get(video), layout)

    return Tile(video.name, {"uri": video.uri, "start_s": 0.0}, pictures)


def decoded(path: Path, layout: Layout) -> Iterator[np.ndarray]:
    """The first seconds of a file as they play, fitted into the tile.

    Raises:
        BadInput: there is no picture in it.
    """
    width, height = layout.tile
    fit = f"scale={width}:{height}:force_original_aspect_ratio=decrease,pad={width}:{height}:-1:-1"
    # First square pixels, then the tile; `fps` shows each frame for as long as the file says.
    picture = f"fps={layout.fps},scale='max(2,iw*sar)':ih,setsar=1,{fit}"
    command = [child.ffmpeg(), *child.DEMUX, "-threads", "1", "-t", f"{layout.seconds:g}", "-i", child.source(path)]
    command += ["-map", "0:V:0", "-vf", picture, "-frames:v", str(layout.frames)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    size = width * height * 3
    bounds = child.Limits(
        memory_gb=6, cpu_s=60 + 20 * layout.seconds, wall_s=300, file_gb=size * layout.frames / 1e9 + 0.01
    )
    finished = child.run(command, bounds)
    count = len(finished.stdout) // size
    if not count:
        raise BadInput(child.explain(finished) if not finished.ok else "no picture in it")
    yield from np.frombuffer(finished.stdout, np.uint8, count * size).reshape(count, height, width, 3)


def of_clips(plan: Plan, wanted: Wanted) -> list[Tile]:
    """The clips of a run as it stands, in the order in which they are tried.

    Raises:
        ConfigError: the run has no such column, or no clip like that.
    """
    table = accounting.clip_rows(books.read(plan))
    rows = table.to_pylist()
    for name in (*dict(wanted.where), *([wanted.by] if wanted.by else [])):
        if name not in table.column_names:
            raise ConfigError(f"clips have no column '{name}'; {nearest(name, table.column_names, _MOST)}")
    rows = _like(rows, wanted.where)
    strata = _strata([(row[wanted.by], row["state"]) for row in rows]) if wanted.by else [""] * len(rows)
    state = State(plan, Ledger(plan.paths))
    at_unit = run_units.unit_of(plan.paths, {row["video_id"] for row in rows})
    return [
        _of_clip(state, rows[at], at_unit[rows[at]["video_id"]], strata[at]) for at in sample.order(strata, wanted.seed)
    ]


def _like(rows: list[dict[str, Any]], where: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The clips that have these values.

    Raises:
        ConfigError: there is none (yet).
    """
    if not rows:
        raise ConfigError("there is no clip yet; hpc-curate status RUN says how far it is")
    for name, value in where:
        left = [row for row in rows if str(row[name]) == value]
        if not left:
            others = " of those before" if len(where) > 1 else ""
            values = {str(row[name]) for row in rows}
            raise ConfigError(f"no clip{others} has {name}={value}; {nearest(value, values, _MOST)}")
        rows = left
    return rows


def _strata(found: list[tuple[Any, str]]) -> list[str]:
    """From values and states: a clip that has no value, such as no reason, is named by its state."""
    values = [value for value, _ in found]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers and all(value is None or isinstance(value, int | float) for value in values):
        return sample.quantiles(np.array([np.nan if value is None else value for value in values], np.float64))
    return [state if value is None else str(value) for value, state in found]


def _of_clip(state: State, row: dict[str, Any], unit: int, stratum: str) -> Tile:
    def pictures(layout: Layout) -> Iterator[np.ndarray]:
        ((_, clip),) = Reader(state, "shots", unit).frames([row["clip_id"]], _ALL_FRAMES)
        if isinstance(clip, BadInput):
            raise clip
        moments = np.arange(layout.frames) / layout.fps
        inside = moments < max(row["end_s"] - row["start_s"], 1 / layout.fps)
        at = np.maximum(0, np.searchsorted(clip.times_s, moments[inside], side="right") - 1)
        for frame in clip.frames[at]:
            yield _fitted(frame, layout)

    facts = {name: row[name] for name in ("clip_id", "uri", "start_s", "end_s", "state", "reason")}
    return Tile(f"{row['name']} at {row['start_s']:.1f} s", facts, pictures, stratum)


def _fitted(frame: np.ndarray, layout: Layout) -> np.ndarray:
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(Image.fromarray(frame), layout.tile))
