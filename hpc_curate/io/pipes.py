"""The pipes between a decoder child and us: one line of time per picture, and the pictures of each grid.

The child writes a picture's time before the picture itself. A time is what ffmpeg's `metadata=print` says:
`frame:7 pts:3584 pts_time:0.29` and then `grid=small`. Pictures are raw pixels without any framing, or JPEGs as the
parts of its `mpjpeg` muxer, which name their length. All pipes are read as they fill, so none can stall the child,
and no more is held than one run of pictures per grid.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hpc_curate.errors import BadInput
from hpc_curate.measures import Frames

_TIME = re.compile(rb"frame:\s*\d+ +pts:\s*(NOPTS|-?\d+)[^\n]*\ngrid=(\w+)\n")
_JPEG_HEAD = re.compile(rb"\A(?:\r\n)?--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: (\d{1,9})\r\n\r\n")
_MOST_TICKS = 1 << 53  # beyond, differences are not exact any more: no time that a real file has
_HEAD_BYTES = 128
_LINE_BYTES = 512
_READ_BYTES = 1 << 20
_RUN_BYTES = 4 << 20  # raw pixels that are handed on together, at most or one picture
_RUN_FRAMES = 256


@dataclass(frozen=True)
class Grid:
    """Which frames are wanted, and as what: `small` is RGB, `native` luma, `pack` JPEG."""

    name: str
    width: int
    height: int
    per_s: Fraction | None = None  # the first frame in each 1/per_s seconds; None: every frame

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width, 3) if self.name == "small" else (self.height, self.width)


@dataclass(frozen=True)
class Picture:
    """One JPEG of the frame pack."""

    pts: int
    time_s: float  # after the first frame
    width: int
    height: int
    jpeg: bytes


@dataclass
class Clock:
    """Turns ticks into seconds after the first frame, whichever grid shows it first."""

    time_base: Fraction
    start_pts: int | None = None

    def seconds(self, pts: np.ndarray) -> np.ndarray:
        """float64 [N], rounded to a microsecond as `records.seconds` is."""
        if self.start_pts is None and len(pts):
            self.start_pts = int(pts[0])
        ticks = (pts - (self.start_pts or 0)).astype(np.float64)
        return np.round(ticks * self.time_base.numerator / self.time_base.denominator, 6)


class _Grid:
    """What of one grid has come, and is not handed on yet."""

    def __init__(self, grid: Grid, clock: Clock) -> None:
        self.grid, self.clock = grid, clock
        self.times: list[int | None] = []
        self.last_pts: int | None = None
        self.count = 0  # pictures handed on
        self.irregular = 0  # pictures left out: no time of their own, or not later than the one before

    def regular(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Take the times of `count` pictures: which of these to keep (bool), and the pts of those."""
        if len(self.times) < count:
            raise BadInput(f"the decoder gave {count - len(self.times)} pictures without a time ({self.grid.name})")
        keep, pts = np.zeros(count, bool), []
        for index, value in enumerate(self.times[:count]):
            if value is not None and abs(value) < _MOST_TICKS and (self.last_pts is None or value > self.last_pts):
                keep[index], self.last_pts = True, value
                pts.append(value)
        del self.times[:count]
        self.count += len(pts)
        self.irregular += count - len(pts)
        return keep, np.array(pts, np.int64)


class _Raw(_Grid):
    """Raw pixels, read straight into the array that is handed on."""

    def __init__(self, grid: Grid, clock: Clock) -> None:
        super().__init__(grid, clock)
        self.size = int(np.prod(grid.shape))
        self.room = max(1, min(_RUN_FRAMES, _RUN_BYTES // self.size))
        self._begin()

    def _begin(self) -> None:
        self.pixels = np.empty((self.room, *self.grid.shape), np.uint8)
        self.filled = 0

    def read(self, fd: int) -> bool:
        """One read; False at the end."""
        count = os.readv(fd, [self.pixels.reshape(-1)[self.filled :].data])
        self.filled += count
        return count > 0

    def waiting(self, ended: bool) -> int:
        """Pictures that are ready to be handed on: a full run, or the rest."""
        whole = self.filled // self.size
        return whole if ended or whole == self.room else 0

    def take(self, count: int) -> Frames:
        keep, pts = self.regular(count)
        pixels = self.pixels[:count] if keep.all() else self.pixels[:count][keep]
        rest = self.pixels.reshape(-1)[count * self.size : self.filled]
        self._begin()
        self.pixels.reshape(-1)[: len(rest)] = rest
        self.filled = len(rest)
        return Frames(pixels, pts, self.clock.seconds(pts))

    def left(self) -> int:
        return self.filled


class _Jpegs(_Grid):
    """The parts of an mpjpeg stream."""

    def __init__(self, grid: Grid, clock: Clock) -> None:
        super().__init__(grid, clock)
        self.buffer = bytearray()
        self.most = 64 * 1024 + 4 * grid.width * grid.height

    def read(self, fd: int) -> bool:
        block = os.read(fd, _READ_BYTES)
        self.buffer += block
        return bool(block)

    def waiting(self, ended: bool) -> int:
        part = self._part()
        return 1 if part and len(self.buffer) >= part[1] else 0

    def _part(self) -> tuple[int, int] | None:
        """Where the next picture begins and ends in the buffer."""
        head = _JPEG_HEAD.match(self.buffer)
        if head is None:
            if len(self.buffer) >= _HEAD_BYTES:
                raise BadInput("the decoder's pictures are not separated as expected")
            return None
        size = int(head[1])
        if size > self.most:
            raise BadInput(f"the decoder announced a picture of {size} bytes")
        return head.end(), head.end() + size

    def take(self, count: int) -> list[Picture]:
        part = self._part()
        assert part is not None
        jpeg = bytes(self.buffer[part[0] : part[1]])
        del self.buffer[: part[1]]
        keep, pts = self.regular(1)
        times = self.clock.seconds(pts)
        pairs = zip(pts.tolist(), times.tolist(), strict=True)
        return [Picture(ticks, time_s, self.grid.width, self.grid.height, jpeg) for ticks, time_s in pairs]

    def left(self) -> int:
        return len(self.buffer.strip(b"\r\n").removeprefix(b"--ffmpeg"))


class Pipes:
    """The reading ends, and the writing ends until the child has its own.

    Attributes:
        times_fd, data_fds: what the child writes to; `data_fds` in the order of the grids.
    """

    def __init__(self, grids: Sequence[Grid], clock: Clock) -> None:
        self.grids = {g.name: _Jpegs(g, clock) if g.name == "pack" else _Raw(g, clock) for g in grids}
        pairs = [os.pipe() for _ in range(len(grids) + 1)]
        self._reading = [pair[0] for pair in pairs]
        self._writing = [pair[1] for pair in pairs]
        self.times_fd, *self.data_fds = self._writing
        for fd in self._reading:
            with contextlib.suppress(OSError):  # a user may hold only so much in large pipes
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _READ_BYTES)
        self._lines = bytearray()

    @property
    def child_fds(self) -> list[int]:
        return self._writing

    def started(self) -> None:
        """The child has the writing ends now: close ours, so that its end is seen."""
        while self._writing:
            os.close(self._writing.pop())

    def close(self) -> None:
        self.started()
        while self._reading:
            os.close(self._reading.pop())

    def runs(self) -> Iterator[tuple[str, Frames | list[Picture]]]:
        """Runs of pictures as they come, until the child has closed all pipes.

        Raises:
            BadInput: pictures and times do not match.
        """
        times_fd, *data_fds = self._reading
        with selectors.DefaultSelector() as selector:
            selector.register(times_fd, selectors.EVENT_READ)
            for fd, grid in zip(data_fds, self.grids.values(), strict=True):
                selector.register(fd, selectors.EVENT_READ, grid)
            while selector.get_map():
                # Times first: reading pictures may take the times that made their pipe ready.
                for key, _ in sorted(selector.select(), key=lambda event: event[0].data is not None):
                    more = key.data.read(key.fd) if key.data else self._read_times()
                    if not more:
                        selector.unregister(key.fd)
                    if key.data:
                        yield from self._ready(key.data, not more)
        self._check_ends()

    def _ready(self, grid: _Raw | _Jpegs, ended: bool) -> Iterator[tuple[str, Frames | list[Picture]]]:
        while count := grid.waiting(ended):
            # Their times were written before them: this does not wait for anything new.
            while len(grid.times) < count and self._read_times():
                pass
            run = grid.take(count)
            yield grid.grid.name, run

    def _read_times(self) -> bool:
        block = os.read(self._reading[0], _READ_BYTES)
        self._lines += block
        end = 0
        for match in _TIME.finditer(self._lines):
            grid = self.grids.get(match[2].decode())
            if match.start() != end or grid is None:
                raise BadInput("the decoder's times are garbled")
            grid.times.append(None if match[1] == b"NOPTS" else int(match[1]))
            end = match.end()
        del self._lines[:end]
        if len(self._lines) > _LINE_BYTES:
            raise BadInput("the decoder's times are garbled")
        return bool(block)

    def _check_ends(self) -> None:
        for name, grid in self.grids.items():
            if grid.times or grid.left():
                raise BadInput(
                    f"the decoder gave {len(grid.times)} times without a picture and {grid.left()} bytes of an "
                    f"unfinished one ({name})"
                )
