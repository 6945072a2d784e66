"""Videos that nobody vouches for: what they are, and one decode of them, both in limited child processes."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, CurateError
from hpc_curate.io import child
from hpc_curate.io.child import Child, Finished, Limits
from hpc_curate.io.pipes import Clock, Grid, Picture, Pipes
from hpc_curate.io.tables import size_and_sha256
from hpc_curate.measures import Facts, Frames

PROBE_LIMITS = Limits(memory_gb=4, cpu_s=60, wall_s=120, file_gb=0.01)
_IRREGULAR_SHARE = 0.01  # frames out of time that are left out; with more of them the time line is wrong
_BASE_GB = {"ffmpeg": 2.0, "decord": 8.0}  # decord reserves far more than it uses
_MIN_SIDE = 8  # of a small frame, whatever the aspect
_HD_LINES = 720  # untagged pictures from here on are BT.709, as players take them to be
_CUT_SHORT = "File ended prematurely"  # ffmpeg says so of a Matroska file, and ends with status 0
# ffmpeg's words for what is no fault of the file: an option, a filter or a codec that this build lacks.
_BUILD_FAULT = re.compile(r"Unrecognized option|No such filter|Unknown encoder|Option not found|Error parsing options")


@dataclass(frozen=True)
class VideoFacts:
    """What the probe says. Sizes without `coded_` are in display orientation: after pixel aspect, then rotation."""

    stream: int
    container: str
    codec: str
    profile: str | None
    pix_fmt: str
    coded_width: int
    coded_height: int
    rotation: int  # degrees clockwise that a player applies
    sar: Fraction
    fps: Fraction
    time_base: Fraction
    declared_frames: int | None
    declared_s: float | None
    interlaced: bool
    color_primaries: str | None
    color_transfer: str | None
    color_space: str | None
    color_range: str | None
    audio_codec: str | None

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height with square pixels, before rotation; the height is the coded one."""
        return max(1, round(self.coded_width * self.sar)), self.coded_height

    @property
    def width(self) -> int:
        return self.upright[1] if self.rotation % 180 else self.upright[0]

    @property
    def height(self) -> int:
        return self.upright[0] if self.rotation % 180 else self.upright[1]

    @property
    def hdr(self) -> bool:
        """PQ or HLG."""
        return self.color_transfer in ("smpte2084", "arib-std-b67")

    def facts(self) -> Facts:
        return Facts(self.width, self.height, self.fps, self.time_base)


@dataclass(frozen=True)
class Policy:
    """What is taken, and what it may cost."""

    limits: Limits
    on_damage: Literal["reject", "keep_prefix"] = "reject"
    decoder: Literal["ffmpeg", "decord"] = "ffmpeg"
    threads: int = 1
    max_pixels: int = child.MAX_PIXELS
    formats: str = child.FORMATS
    jpeg_qscale: int = 3  # of ffmpeg's mjpeg encoder: 2 is best, 31 worst


def probe(path: Path, max_pixels: int = child.MAX_PIXELS, formats: str = child.FORMATS) -> VideoFacts:
    """Open the file in a child, decode one frame, return the facts.

    Raises:
        BadInput: it is no regular file, no video, or not one of the formats.
    """
    answer = _ask("probe", path, max_pixels, formats)
    for name in ("sar", "fps", "time_base"):
        answer[name] = Fraction(answer[name])
    facts = VideoFacts(**answer)
    pixels = facts.width * facts.height
    if pixels > max_pixels or facts.coded_width * facts.coded_height > 4 * pixels:
        raise BadInput(f"a pixel aspect of {facts.sar} makes {facts.width} x {facts.height} pixels of it")
    return facts


def _ask(kind: str, path: Path, max_pixels: int, formats: str) -> dict[str, Any]:
    try:
        with environment_faults(str(path)):
            regular = stat.S_ISREG(path.stat().st_mode)  # opening a FIFO would wait for ever
    except OSError as error:
        raise BadInput(f"cannot be opened: {error.strerror}") from error
    if not regular:
        raise BadInput("not a regular file")
    argv = child.python("hpc_curate.io.probe_child", kind, str(path.absolute()), formats, str(max_pixels))
    killed = child.killed_by_others()
    finished = child.run(argv, PROBE_LIMITS)
    if not finished.ok:
        reason = child.limit_reached(finished)
        if reason is None and child.killed_by_others() == killed:
            raise CurateError(f"the probe failed: {child.explain(finished)}")
        raise BadInput(f"probe: {reason or child.explain(finished)}")
    answer: dict[str, Any] = json.loads(finished.stdout)
    if "error" in answer:
        raise BadInput(answer["error"])
    return answer


def small_grid(facts: VideoFacts, long_side_px: int) -> Grid:
    """Every frame, tens of pixels wide."""
    width, height = scaled(facts, long_side_px)
    return Grid("small", max(_MIN_SIDE, width), max(_MIN_SIDE, height))


def native_grid(facts: VideoFacts, per_s: float) -> Grid:
    """Luma at display size, sampled."""
    return Grid("native", facts.width, facts.height, _rate(per_s))


def pack_grid(facts: VideoFacts, per_s: float, long_side_px: int) -> Grid:
    """JPEGs, sampled; never larger than the picture."""
    return Grid("pack", *scaled(facts, min(long_side_px, max(facts.width, facts.height))), _rate(per_s))


def scaled(facts: VideoFacts, long_side_px: int) -> tuple[int, int]:
    """Width and height with this long side and the aspect kept."""
    long_side = max(facts.width, facts.height)
    return max(1, round(facts.width * long_side_px / long_side)), max(1, round(facts.height * long_side_px / long_side))


def _rate(per_s: float) -> Fraction:
    return Fraction(per_s).limit_denominator(10_000)


def memory_gb(facts: VideoFacts, threads: int, decoder: str = "ffmpeg") -> float:
    """Address space for one decode: reference frames, frames in flight and the scaler's copies, 6 bytes a pixel."""
    return _BASE_GB[decoder] + facts.coded_width * facts.coded_height * 6 * (24 + 4 * threads) / 1e9


@dataclass
class Decoding:
    """One decode of one video: iterate for runs of pictures by the name of their grid; leaving stops the child.

    Raises while iterating:
        BadInput: it is damaged (unless a prefix may be kept), hostile or beyond its limits.
        EnvironmentFault: the file system is at fault.
    """

    path: Path
    facts: VideoFacts
    grids: Sequence[Grid]
    policy: Policy
    damage: str | None = None  # what `keep_prefix` accepted; known after the last run
    _pipes: Pipes = field(init=False)
    _child: Child = field(init=False)

    def __enter__(self) -> Decoding:
        self._pipes = Pipes(self.grids, Clock(self.facts.time_base))
        try:
            command = _COMMANDS[self.policy.decoder](self)
            self._child = Child(command, self.policy.limits, pass_fds=self._pipes.child_fds)
        except BaseException:
            self._pipes.close()
            raise
        self._pipes.started()
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(*error)
        self._pipes.close()

    def __iter__(self) -> Iterator[tuple[str, Frames | list[Picture]]]:
        mismatch = None
        try:
            yield from self._pipes.runs()
        except BadInput as error:
            mismatch = error
            self._child.kill()
        finished = self._child.wait()
        broken = not finished.ok or _CUT_SHORT in finished.stderr_tail
        if broken and (mismatch is None or child.limit_reached(finished)):
            self._accept(finished)
        if mismatch is not None:
            raise mismatch
        self._check_count()

    @property
    def counted(self) -> tuple[int, int]:
        """Small frames handed on, and those left out because they have no later time than the one before."""
        small = self._pipes.grids["small"]
        return small.count, small.irregular

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def _accept(self, finished: Finished) -> None:
        """Keep what came before the damage if that is the policy."""
        reason = child.explain(finished)
        if _BUILD_FAULT.search(finished.stderr_tail):
            raise CurateError(f"{child.ffmpeg()} cannot do what is needed (version 5.1 or later, any build): {reason}")
        if "Input/output error" in finished.stderr_tail:
            with environment_faults(str(self.path)):
                size_and_sha256(self.path)  # ffmpeg says so of bad data, too: see whether the file can be read
        if self.policy.on_damage == "reject" or child.limit_reached(finished) or not any(self._counts()):
            raise BadInput(f"decode: {reason}")
        self.damage = f"decode stopped: {reason}"

    def _counts(self) -> list[int]:
        return [grid.count for grid in self._pipes.grids.values()]

    def _check_count(self) -> None:
        """Compare with what the container declares, less the packets that are there but never shown."""
        if "small" not in self._pipes.grids:
            return
        count, irregular = self.counted
        if not count:
            raise BadInput("no frame can be decoded")
        if irregular:
            note = f"{irregular} of {count + irregular} frames have no later time than the frame before"
            if irregular > _IRREGULAR_SHARE * count:
                raise BadInput(note)
            self.damage = f"{self.damage}; {note}" if self.damage else f"{note}; left out"
            return
        declared = self.facts.declared_frames
        if self.damage is None and declared is not None and count < declared:
            self._missing(declared, count)

    def _missing(self, declared: int, decoded: int) -> None:
        counts = _ask("packets", self.path, self.policy.max_pixels, self.policy.formats)
        missing = declared - counts["hidden"] - counts["empty"] - decoded
        if missing <= 0:
            return
        message = f"{missing} of {declared} declared frames are missing"
        if self.policy.on_damage == "reject":
            raise BadInput(message)
        self.damage = message


def _ffmpeg(decoding: Decoding) -> list[str]:
    """One decode into all grids; frames pass as they are, each with its own time."""
    facts, policy, pipes = decoding.facts, decoding.policy, decoding._pipes
    names = [f"[{grid.name}]" for grid in decoding.grids]
    tick = f"{facts.time_base.numerator}/{facts.time_base.denominator}"
    chains = [f"[0:{facts.stream}]settb={tick},split={len(names)}" + "".join(f"[in_{name[1:]}" for name in names)]
    chains += [f"[in_{grid.name}]{_chain(grid, facts, pipes.times_fd)}[{grid.name}]" for grid in decoding.grids]
    command = [child.ffmpeg(), *child.demux(policy.max_pixels, policy.formats)]
    command += ["-xerror", "-err_detect", "explode", "-threads", str(policy.threads)]
    # A change of size half way must not begin the grids anew: the scalers adapt.
    command += ["-reinit_filter", "0", "-copyts", "-i", child.source(decoding.path)]
    command += ["-filter_complex_threads", "1", "-filter_complex", ";".join(chains)]
    for grid, fd in zip(decoding.grids, pipes.data_fds, strict=True):
        command += ["-map", f"[{grid.name}]", "-fps_mode", "passthrough", "-threads", "1"]
        if grid.name == "pack":
            command += ["-c:v", "mjpeg", "-q:v", str(policy.jpeg_qscale), "-bitexact", "-f", "mpjpeg"]
        else:
            command += ["-c:v", "rawvideo", "-f", "rawvideo"]
        command.append(f"pipe:{fd}")
    return command


_PICTURES = {
    "small": "flags=area,format=rgb24",
    "native": "out_range=full,format=gray",
    "pack": "out_range=full:out_color_matrix=bt601,format=yuvj420p",  # what JPEG readers take it to be
}


def _chain(grid: Grid, facts: VideoFacts, times_fd: int) -> str:
    matrix = ""
    if facts.color_space is None and facts.coded_height >= _HD_LINES:
        matrix = "in_color_matrix=bt709:"
    filters = [f"scale={grid.width}:{grid.height}:{matrix}{_PICTURES[grid.name]}"]
    if grid.per_s is not None:
        # Exact: whole numbers, then one division. The fps filter would move, repeat and drop frames instead.
        step = grid.per_s * facts.time_base
        cell = f"floor((%s-start_pts)*{step.numerator}/{step.denominator})"
        filters.insert(0, f"select='isnan(prev_selected_pts)+gt({cell % 'pts'},{cell % 'prev_selected_pts'})'")
    mark = f"metadata=add:key=grid:value={grid.name}"
    return ",".join([*filters, mark, rf"metadata=print:key=grid:file=pipe\\:{times_fd}:direct=1"])


def _decord(decoding: Decoding) -> list[str]:
    facts, policy, pipes = decoding.facts, decoding.policy, decoding._pipes
    task = {
        "path": str(decoding.path.absolute()),
        "stream": facts.stream,
        "formats": policy.formats,
        "threads": policy.threads,
        "time_base": str(facts.time_base),
        "jpeg_qscale": policy.jpeg_qscale,
        "times_fd": pipes.times_fd,
        "grids": [
            {"name": g.name, "width": g.width, "height": g.height, "per_s": g.per_s and str(g.per_s), "fd": fd}
            for g, fd in zip(decoding.grids, pipes.data_fds, strict=True)
        ],
    }
    return child.python("hpc_curate.io.decord_child", json.dumps(task))


_COMMANDS: dict[str, Callable[[Decoding], list[str]]] = {"ffmpeg": _ffmpeg, "decord": _decord}
