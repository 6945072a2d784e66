"""One clip of a video as an mp4 without encoding: the packets of a span, where they stand alone.

A copy is exact only if the span begins with a keyframe and no packet inside it needs one outside. Both are read off the
packets' order: what is dropped must lie wholly before or wholly after what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hpc_curate.errors import BadInput
from hpc_curate.io import encode
from hpc_curate.io.encode import Encoding, Made, Source, Wanted
from hpc_curate.records import Span

_KEY = 1  # AV_PKT_FLAG_KEY
_REORDERED_S = 2.0  # no decoder holds pictures back for longer


@dataclass(frozen=True)
class Packet:
    """One coded picture, in the order of decoding."""

    pts: int
    key: bool


def copy(source: Source, wanted: Wanted, encoding: Encoding, out: Path, tolerance_s: float) -> Made:
    """Copy the packets of a span that begins with a keyframe, at most `tolerance_s` after its start.

    Raises:
        BadInput: there is no such keyframe, the packets do not stand alone, or the copy does not decode.
        EnvironmentFault: the disk is full or a file handle is stale.
    """
    found = packets(source, wanted)
    latest = wanted.span.start_pts + int(tolerance_s / source.time_base)
    starts = [packet.pts for packet in found if packet.key and wanted.span.start_pts <= packet.pts <= latest]
    if not starts:
        raise BadInput(f"no keyframe at most {tolerance_s:g} s after the start, so a copy would not begin there")
    span = Span(min(starts), wanted.span.end_pts)
    frames = stand_alone(found, span)
    if span.start_pts == wanted.span.start_pts and frames != wanted.frames:
        raise BadInput(f"{wanted.frames} frames were planned, the source has {frames} packets there")
    shorter = replace(wanted, span=span, frames=frames)
    encode.ffmpeg(_copy_command(source, span, encoding, out), source, encode.limits(source, shorter, seek=True))
    return encode.verify(source, out, shorter)


def packets(source: Source, wanted: Wanted) -> list[Packet]:
    """The packets around a span, from the keyframe before it on."""
    until = f"{source.seconds(wanted.span.end_pts) + _REORDERED_S:.6f}"
    command = encode.opened(source, wanted.span, encode.far(source, wanted.span))
    command += ["-map", "0:V:0", "-c", "copy", "-t", until, "-f", "framecrc", "pipe:1"]
    text = encode.ffmpeg(command, source, encode.limits(source, wanted, seek=True))
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    # Flags are printed where they are anything else than those of a plain keyframe.
    flags = [next((int(field[3:], 16) for field in row if field.startswith(" F=")), _KEY) for row in rows]
    return [Packet(int(row[2]), bool(flag & _KEY)) for row, flag in zip(rows, flags, strict=True)]


def stand_alone(found: list[Packet], span: Span) -> int:
    """How many packets a span has, given that they stand alone.

    Raises:
        BadInput: a packet inside may need one outside.
    """
    inside = [number for number, packet in enumerate(found) if span.start_pts <= packet.pts < span.end_pts]
    if not inside or found[inside[0]].pts != span.start_pts or not found[inside[0]].key:
        raise BadInput("pictures before the keyframe belong to the span, so a copy would lose them")
    # Between the first and the last there may be only pictures shown before the keyframe: none after it needs them.
    if any(packet.pts >= span.end_pts for packet in found[inside[0] : inside[-1]]):
        raise BadInput("pictures at the end need one after it, so a copy would break them")
    return len(inside)


def _copy_command(source: Source, span: Span, encoding: Encoding, out: Path) -> list[str]:
    start, end = span.start_pts, span.end_pts
    chosen = f"noise=drop='lt(pts,{start})+gte(pts,{end})',setts=pts=PTS-({start}):dts=DTS-({start})"
    chosen += f":duration='min(DURATION,{end}-PTS)'"
    return [
        *encode.opened(source, span, encode.far(source, span)),
        *("-map", "0:V:0", "-c:v", "copy", "-bsf:v", chosen),
        *("-t", f"{source.seconds(end) + _REORDERED_S:.6f}"),
        *encode.sound(source, span, encoding),
        *encode.muxed(out),
    ]
