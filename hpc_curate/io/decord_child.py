"""The second decoder, as a child process: decord's frames, in the form of ffmpeg's pipes.

`python -m hpc_curate.io.decord_child TASK`, where TASK is the JSON that `video.py` makes. decord gives every frame as
full-size RGB, and its times in 32-bit seconds: the exact ones come from the packets.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

Maker = Callable[[np.ndarray, tuple[int, int]], bytes]

_STAMPS = re.compile(r"\[\d\d:\d\d:\d\d\] \S+ ?")
_UNKNOWN_TIMES = "decord gives {0} frames for {1} packets"


def packet_times(path: str, stream: int, formats: str) -> list[tuple[int, bool]]:
    """Ticks of every packet in the order of display, and whether an edit list hides it."""
    import av

    options = {"format_whitelist": formats, "protocol_whitelist": "file,pipe"}
    with av.open("file:" + path, options=options) as container:
        packets = container.demux(container.streams[stream])
        return sorted((p.pts, p.is_discard) for p in packets if p.pts is not None)


def frames(task: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Ticks and uint8 [H, W, 3] RGB, as a player shows it but for the pixel aspect."""
    import decord

    # It shows an earlier frame in place of one that it cannot decode; not even one is forgiven here.
    reader = decord.VideoReader(task["path"], ctx=decord.cpu(0), num_threads=task["threads"], fault_tol=1)
    times = packet_times(task["path"], task["stream"], task["formats"])
    if len(times) != len(reader):
        raise SystemExit(_UNKNOWN_TIMES.format(len(reader), len(times)))
    # It counts hidden frames but never gives them: as many repeats of the last frame would follow.
    for pts, hidden in times:
        if not hidden:
            yield pts, reader.next().asnumpy()


class Sampler:
    """Chooses the first frame in each cell of a grid."""

    def __init__(self, per_s: str | None, time_base: Fraction) -> None:
        self.step = Fraction(per_s) * time_base if per_s else None
        self.start: int | None = None
        self.cell = -1

    def wants(self, pts: int) -> bool:
        if self.step is None:
            return True
        if self.start is None:
            self.start = pts
        cell = (pts - self.start) * self.step.numerator // self.step.denominator
        wanted, self.cell = cell > self.cell, max(cell, self.cell)
        return wanted


def small(picture: np.ndarray, size: tuple[int, int]) -> bytes:
    import cv2

    return bytes(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def native(picture: np.ndarray, size: tuple[int, int]) -> bytes:
    import cv2

    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return bytes(luma if luma.shape == size[::-1] else cv2.resize(luma, size, interpolation=cv2.INTER_CUBIC))


def pack(qscale: int) -> Maker:
    """The same encoder, at the same quality, as ffmpeg's."""
    import av
    import cv2

    def encode(picture: np.ndarray, size: tuple[int, int]) -> bytes:
        scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(scaled.astype(np.uint8, copy=False), format="rgb24")
        frame = frame.reformat(format="yuvj420p", dst_colorspace="ITU601", dst_color_range="JPEG")
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height = size
        encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
        encoder.qmin = encoder.qmax = qscale
        encoder.flags |= av.codec.context.Flags.bitexact
        jpeg = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
        head = f"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: {len(jpeg)}\r\n\r\n"
        return head.encode() + jpeg + b"\r\n"

    return encode


def write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def main(text: str) -> None:
    task = json.loads(text)
    makers: dict[str, Maker] = {"small": small, "native": native, "pack": pack(task["jpeg_qscale"])}
    samplers = [Sampler(grid["per_s"], Fraction(task["time_base"])) for grid in task["grids"]]
    try:
        copy(task, makers, samplers)
    except Exception as error:
        if not type(error).__name__.startswith("DECORD"):
            raise
        # Its messages carry the time of day and the path.
        reason = _STAMPS.sub("", str(error).splitlines()[0]).replace(f"[{task['path']}]", "")
        raise SystemExit(f"decord: {reason.strip()}") from error


def copy(task: dict[str, Any], makers: dict[str, Maker], samplers: list[Sampler]) -> None:
    """Write each frame to the grids that want it, its time first."""
    for number, (pts, picture) in enumerate(frames(task)):
        for grid, sampler in zip(task["grids"], samplers, strict=True):
            if sampler.wants(pts):
                data = makers[grid["name"]](picture, (grid["width"], grid["height"]))
                write(task["times_fd"], f"frame:{number} pts:{pts}\ngrid={grid['name']}\n".encode())
                write(grid["fd"], data)


if __name__ == "__main__":
    main(sys.argv[1])
