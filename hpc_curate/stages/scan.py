"""scan: read every video once; facts, per-frame series and the frame pack come out of one decode."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from hpc_curate.cutters import Cutter
from hpc_curate.errors import BadInput, ConfigError, UnitFailed
from hpc_curate.inputs import Inputs
from hpc_curate.io import child
from hpc_curate.io.child import Limits
from hpc_curate.io.pipes import Grid, Picture
from hpc_curate.io.tables import size_and_sha256
from hpc_curate.io.video import (
    Decoding,
    Policy,
    VideoFacts,
    memory_gb,
    native_grid,
    pack_grid,
    probe,
    small_grid,
)
from hpc_curate.measures import Feeder, Frames, Measure
from hpc_curate.records import FRAMES, SERIES, VIDEOS, Video, digest, seconds
from hpc_curate.stage import Item, PerUnit, Tables
from hpc_curate.weights import NOTHING, Noted

_SLOW_BYTES_PER_S = 250_000  # a video that declares no length, or lies, is taken to have at least this rate
_LIMITS = ("wall_s_per_video_s", "min_wall_s", "max_wall_s")
_FPS_TOLERANCE = 0.01  # beyond it the declared rate is not believed
_FPS_DENOMINATOR = 1001
# Outside of these the time line lies, and clips cut from it would be without number.
_SLOWEST_FPS, _FASTEST_FPS = Fraction(1, 60), 10_000


@dataclass(frozen=True)
class Scan(PerUnit):
    """One item is one video. What is asked for are pieces: `videos` (the facts), `frames` (the pack), and the series
    of each measure and cutter by name; a measure that is added later runs alone.

    A video that cannot be used, or that attacks its decoder, costs one row with an `error`.
    """

    name: ClassVar[str] = "scan"
    incremental: ClassVar[bool] = True
    # A JPEG of the default size has 10 to 150 kB; a group stays below 32 MiB up to 1 MiB each.
    row_group: ClassVar[dict[str, int]] = {"frames": 32}

    measures: dict[str, Measure]
    cutters: dict[str, Cutter]
    small_long_side_px: int = 64
    native_per_s: float = 1.0  # full-size luma frames that native measures see
    pack_per_s: float = 2.0
    pack_long_side_px: int = 640
    jpeg_qscale: int = 3  # of ffmpeg's mjpeg encoder: 2 is best, 31 worst
    decoder: Literal["ffmpeg", "decord"] = "ffmpeg"
    on_damage: Literal["reject", "keep_prefix"] = "reject"  # what a packet that cannot be decoded costs
    checksum: bool = False  # the SHA-256 of the source, by a second, sequential read
    max_pixels: int = child.MAX_PIXELS
    formats: str = child.FORMATS  # ffmpeg's names of the containers that are opened
    # Limits that kill a hung decode. They are no part of the signature.
    wall_s_per_video_s: float = 20.0
    min_wall_s: float = 300.0
    max_wall_s: float = 14_400.0

    def __post_init__(self) -> None:
        both = sorted(set(self.measures) & set(self.cutters))
        if both:
            raise ConfigError(f"measure and cutter share the name {', '.join(both)}; rename one")
        for name in ("small_long_side_px", "native_per_s", "pack_per_s", "pack_long_side_px"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"stage.scan.{name}={getattr(self, name)} must be above 0")

    def writes(self) -> dict[str, pa.Schema]:
        return {"videos": VIDEOS, "series": SERIES, "frames": FRAMES}

    def settings(self) -> dict[str, Any]:
        """What all pieces share; what one measure depends on is in the signature of its piece."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("measures", "cutters", *_LIMITS):
            del own[name]
        return own

    def pieces(self, noted: Noted = NOTHING) -> dict[str, str]:
        made = {"videos": digest("videos"), "frames": digest("frames")}
        return {**made, **{name: _signature(measure, noted) for name, measure in self._series().items()}}

    def _series(self) -> dict[str, Measure]:
        cutters = {name: cutter for name, cutter in self.cutters.items() if cutter.needs_frames}
        return {**self.measures, **cutters}

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterable[Item]:
        for video in inputs.videos():
            yield Item(video.video_id, tuple(asked))

    def process(self, model: Any, inputs: Inputs, item: Item) -> Tables:
        video = next(v for v in inputs.videos() if v.video_id == item.key)
        wanted = {piece.partition(":")[0] for piece in item.ids}
        row: dict[str, Any] = {
            "video_id": video.video_id,
            "uri": video.uri,
            "name": video.name,
            "bytes": max(video.bytes, 0),
        }
        try:
            path = inputs.source(video)
            facts = probe(path, self.max_pixels, self.formats)
            row.update(_facts_row(facts), bytes=path.stat().st_size)
            scanned = _Scanned(video, facts, {k: m for k, m in self._series().items() if k in wanted})
            policy = self._policy(facts, row["bytes"], inputs.resources.cpus)
            with Decoding(path, facts, self._grids(facts, wanted), policy) as decoding:
                for grid, run in decoding:
                    scanned.take(grid, run)
            if "videos" in wanted:
                row.update(scanned.video_row(row["bytes"]), damage=decoding.damage)
                row["sha256"] = size_and_sha256(path)[1] if self.checksum else None
        except BadInput as error:
            return self._tables({**row, "error": str(error)} if "videos" in wanted else None)
        tables = self._tables(row if "videos" in wanted else None)
        return {**tables, "series": scanned.series("videos" in wanted), "frames": scanned.frames()}

    def failed(self, item: Item, error: str) -> Tables:
        wanted = any(piece.partition(":")[0] == "videos" for piece in item.ids)
        return self._tables({"video_id": item.key, "error": error} if wanted else None)

    def _tables(self, row: dict[str, Any] | None) -> Tables:
        videos = pa.Table.from_pylist([row] if row else [], schema=VIDEOS)
        return {"videos": videos, "series": SERIES.empty_table(), "frames": FRAMES.empty_table()}

    def _grids(self, facts: VideoFacts, wanted: set[str]) -> list[Grid]:
        measured = {measure.grid for name, measure in self._series().items() if name in wanted}
        grids = []
        if "small" in measured or "videos" in wanted:
            grids.append(small_grid(facts, self.small_long_side_px))
        if "native" in measured:
            grids.append(native_grid(facts, self.native_per_s))
        if "frames" in wanted:
            grids.append(pack_grid(facts, self.pack_per_s, self.pack_long_side_px))
        return grids

    def _policy(self, facts: VideoFacts, size: int, cpus: int) -> Policy:
        # Where the prefix before the damage is kept, it must not depend on how many threads were ahead of it.
        threads = 1 if self.on_damage == "keep_prefix" else max(1, cpus - 1)
        video_s = max(facts.declared_s or 0.0, size / _SLOW_BYTES_PER_S)
        wall_s = min(max(self.min_wall_s, self.wall_s_per_video_s * video_s), self.max_wall_s)
        limits = Limits(
            memory_gb(facts, threads, self.decoder), cpu_s=wall_s * (threads + 1), wall_s=wall_s, file_gb=0.01
        )
        return Policy(limits, self.on_damage, self.decoder, threads, self.max_pixels, self.formats, self.jpeg_qscale)


def _signature(measure: Measure, noted: Noted) -> str:
    """Of a piece: what changes its series, and nothing else."""
    settings = {name: getattr(measure, name) for name in measure.series_settings}
    return digest(measure.name, measure.version, settings, noted.of_weights(measure))


def _facts_row(facts: VideoFacts) -> dict[str, Any]:
    """The columns of `videos` that the probe knows."""
    row = {name: getattr(facts, name) for name in VIDEOS.names if hasattr(facts, name)}
    for name in ("sar", "fps", "time_base"):
        value: Fraction = getattr(facts, name)
        row |= {f"{name}_num": value.numerator, f"{name}_den": value.denominator}
    return row


@dataclass
class _Scanned:
    """What one decode gives, while it comes in."""

    video: Video
    facts: VideoFacts
    measures: dict[str, Measure]
    feeders: dict[str, Feeder] = field(init=False)
    pts: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"small": [], "native": []})
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.feeders = {name: measure.start(self.facts.facts()) for name, measure in self.measures.items()}

    def take(self, grid: str, run: Frames | list[Picture]) -> None:
        if isinstance(run, Frames):
            self.pts[grid].append(run.pts)
            for name, feeder in self.feeders.items():
                if self.measures[name].grid == grid:
                    feeder.feed(run)
            return
        rows = [{"video_id": self.video.video_id, **dataclasses.asdict(picture)} for picture in run]
        self.batches.append(pa.RecordBatch.from_pylist(rows, schema=FRAMES))

    def frames(self) -> pa.Table:
        return pa.Table.from_batches(self.batches, schema=FRAMES)

    def series(self, with_times: bool) -> pa.Table:
        """The times of each grid, once per video, and the series of each measure."""
        rows = []
        for grid in ("small", "native"):
            # Native measures may come later than the facts; the times of their grid come with them.
            if self.pts[grid] and (with_times or grid == "native"):
                rows.append(self._row("videos", "pts", grid, pts=np.concatenate(self.pts[grid])))
        for piece, feeder in self.feeders.items():
            grid = self.measures[piece].grid
            count = sum(map(len, self.pts[grid]))
            for name, values in sorted(feeder.finish().items()):
                if len(values) != count:
                    raise UnitFailed(f"{piece}: {len(values)} values of {name} for {count} frames")
                flat = np.ascontiguousarray(values, np.float32)
                dim = flat.shape[1] if flat.ndim == 2 else 1
                rows.append(self._row(piece, name, grid, values=flat.reshape(-1), dim=dim))
        return pa.Table.from_pylist(rows, schema=SERIES)

    def _row(self, piece: str, name: str, grid: str, dim: int = 1, **arrays: np.ndarray) -> dict[str, Any]:
        return {"video_id": self.video.video_id, "piece": piece, "name": name, "grid": grid, "dim": dim, **arrays}

    def video_row(self, size: int) -> dict[str, Any]:
        """The columns of `videos` that only a decode tells."""
        pts = np.concatenate(self.pts["small"])
        # Containers seldom say how long the last frame is shown: as long as frames mostly are.
        usual = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (self.facts.fps * self.facts.time_base))
        start, end = int(pts[0]), int(pts[-1]) + max(usual, 1)
        duration = (end - start) * self.facts.time_base
        if not _SLOWEST_FPS <= len(pts) / duration <= _FASTEST_FPS:
            raise BadInput(f"its times say {len(pts)} frames in {float(duration):g} s")
        fps = self._fps(len(pts) / duration)
        return {
            "start_pts": start,
            "end_pts": end,
            "frames": len(pts),
            "duration_s": seconds(end - start, self.facts.time_base),
            "bits_per_pixel": round(size * 8 / (len(pts) * self.facts.width * self.facts.height), 6),
            "fps_num": fps.numerator,
            "fps_den": fps.denominator,
        }

    def _fps(self, counted: Fraction) -> Fraction:
        """The declared mean rate where the frames bear it out, else the counted one."""
        if abs(counted - self.facts.fps) <= _FPS_TOLERANCE * self.facts.fps:
            return self.facts.fps
        return counted.limit_denominator(_FPS_DENOMINATOR)
