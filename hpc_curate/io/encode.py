"""One clip of a video as an mp4: encoded frame by frame or copied, then decoded again and counted.

All times are ticks of the source's stream: frames are chosen by their pts, never by seconds, and keep their distances.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from hpc_curate.errors import BadInput, EnvironmentFault, UnitFailed
from hpc_curate.io import child
from hpc_curate.records import Span

# Seeking lands on a keyframe at least this long before the clip, so that pictures which need earlier ones, and streams
# that refresh little by little, are whole when the clip begins.
_RUN_UP_S = 1.0
# Containers that store the time of their pictures. In a bare stream times are counted from where reading began, so
# after a seek the right times would stand at the wrong pictures.
_TIMED = {"mov", "matroska", "webm", "avi", "flv", "asf", "mpeg", "mpegts", "mxf"}
_ENVIRONMENT = re.compile(
    r": (No space left on device|Disk quota exceeded|Stale file handle|Read-only file system)\s*$", re.MULTILINE
)
# ffmpeg's words for what is no fault of any video: a filter or an encoder that this build or this node lacks.
_BUILD = re.compile(
    r"Unrecognized option|No such filter|Unknown encoder|Option not found|Cannot load lib|No capable devices found"
    r"|No NVENC capable devices|OpenEncodeSessionEx failed"
)
_MAX_GB = 2.0  # of one clip: it is held in memory and in one row
_SAME_BYTES = "+bitexact"

# What a player assumes where a file says nothing.
_PRIMARIES = {"bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "film", "bt2020"}
_TRANSFERS = {"bt709", "smpte170m", "smpte240m", "iec61966-2-1", "bt2020-10", "bt2020-12"}
_MATRICES = {"bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"}
_OF_SCALE = {"bt470bg": "bt470", "bt2020nc": "bt2020"}  # what every version of the filter scale calls them
_HD_LINES = 720

# swscale without its inexact shortcuts: the same bytes on every processor.
_SCALE = "flags=bicubic+accurate_rnd+bitexact"


@dataclass(frozen=True)
class Source:
    """What has to be known of a video to cut it. Sizes are in display orientation, in square pixels."""

    path: Path
    container: str  # as ffmpeg names it: mov,mp4,m4a,3gp,3g2,mj2
    time_base: Fraction
    start_pts: int  # of the first frame
    width: int
    height: int
    interlaced: bool = False
    hdr: bool = False
    primaries: str | None = None
    transfer: str | None = None
    matrix: str | None = None
    has_audio: bool = False

    def seconds(self, pts: int) -> float:
        return float(pts * self.time_base)


@dataclass(frozen=True)
class Rectangle:
    """In display pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Wanted:
    """One clip."""

    span: Span
    frames: int
    picture: Rectangle  # what is left after cropping


@dataclass(frozen=True)
class Encoding:
    """How clips are encoded."""

    codec: str = "libx264"
    crf: int = 20
    preset: str = "veryfast"
    gop_s: float = 1.0
    threads: int = 1
    audio: bool = False
    max_short_side_px: int | None = None


@dataclass(frozen=True)
class Made:
    """What decoding a finished clip gave."""

    frames: int
    duration_s: float
    width: int
    height: int
    first_pts: int  # in the ticks of the source: where the clip begins


def even_inside(rectangle: Rectangle) -> Rectangle:
    """The largest rectangle inside with even corners and sizes: chroma has half the resolution."""
    x, y = (rectangle.x + 1) // 2 * 2, (rectangle.y + 1) // 2 * 2
    right, bottom = (rectangle.x + rectangle.width) // 2 * 2, (rectangle.y + rectangle.height) // 2 * 2
    return Rectangle(x, y, right - x, bottom - y)


def encode(source: Source, wanted: Wanted, encoding: Encoding, out: Path) -> Made:
    """Encode exactly the frames whose pts lie in the span.

    Raises:
        BadInput: ffmpeg failed, or the frames that came out are not those that were planned.
        EnvironmentFault: the disk is full or a file handle is stale.
    """
    failure = ""
    # Some containers seek badly: then decode from the beginning.
    for seek in (True, False) if far(source, wanted.span) else (False,):
        try:
            bounds = limits(source, wanted, seek)
            if encoding.codec == "h264_nvenc":  # CUDA reserves far more addresses than it uses memory
                bounds = replace(bounds, memory_gb=math.inf)
            ffmpeg(_encode_command(source, wanted, encoding, out, seek), source, bounds)
            return verify(source, out, wanted)
        except BadInput as error:
            failure = str(error)
    raise BadInput(failure)


def verify(source: Source, out: Path, wanted: Wanted) -> Made:
    """Decode a finished clip strictly and say what is in it.

    The last frame may be shown for less time than in the source, where a container does not say how long that is.

    Raises:
        BadInput: it is damaged, or has other frames than were planned.
    """
    command = [child.ffmpeg(), *child.DEMUX, "-xerror", "-err_detect", "explode", "-threads", "1"]
    command += ["-i", child.source(out), "-map", "0:v:0"]
    # Only the times of the frames are read: their pixels need no copying and no checksum.
    command += [*_ticks(source), "-c:v", "wrapped_avframe", "-f", "framecrc", "pipe:1"]
    text = ffmpeg(command, source, limits(source, wanted, seek=True))
    width, height = (int(n) for n in _header(text, "dimensions").split("x"))
    ticks = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    frames = sorted((int(fields[2]), int(fields[3])) for fields in ticks)
    if not frames or frames[0][0] != 0:
        raise BadInput(f"the clip came out with {len(frames)} frames, the first not at 0")
    if len(frames) != wanted.frames:
        raise BadInput(f"{wanted.frames} frames were planned, {len(frames)} came out")
    base = Fraction(_header(text, "tb"))
    planned = (wanted.span.end_pts - wanted.span.start_pts) * source.time_base
    last = frames[-1][0] * base
    if last >= planned:
        raise BadInput(f"{float(planned):.3f} s were planned, a frame came out at {float(last):.3f} s")
    # An mp4 stores how long frames last in the order of decoding: with a variable rate that of the last one is a guess.
    duration = min(sum(frames[-1]) * base, planned)
    return Made(len(frames), round(float(duration), 6), width, height, wanted.span.start_pts)


def _header(text: str, name: str) -> str:
    found = re.search(rf"^#{name} 0: (\S+)$", text, re.MULTILINE)
    if not found:
        raise BadInput(f"the clip came out without a video stream ({name} is not known)")
    return found[1]


# -- commands ------------------------------------------------------------------------------------------------------


def far(source: Source, span: Span) -> bool:
    """Whether a seek saves more than the run-up, and can be trusted."""
    timed = _TIMED.intersection(source.container.split(","))
    return bool(timed) and source.seconds(span.start_pts - source.start_pts) > 2 * _RUN_UP_S


def opened(source: Source, span: Span, seek: bool) -> list[str]:
    """Arguments that open the source, with its own timestamps, at the beginning or before the span."""
    at = f"{source.seconds(span.start_pts) - _RUN_UP_S:.6f}"
    seeking = ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", at] if seek else []
    return [child.ffmpeg(), *child.DEMUX, "-copyts", *seeking, "-threads", "1", "-i", child.source(source.path)]


def muxed(out: Path) -> list[str]:
    """Arguments that write an mp4 with its index in front and nothing of the encoder, the source or the day."""
    return (
        ["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", _SAME_BYTES, "-flags", _SAME_BYTES]
        + ["-movflags", "+faststart", "-f", "mp4", "-y", child.source(out)]
    )  # fmt: skip


def _ticks(source: Source) -> list[str]:
    """Arguments that keep every frame and its time, in the ticks of the source."""
    base = source.time_base
    return ["-fps_mode", "passthrough", "-enc_time_base", f"{base.numerator}:{base.denominator}"]


def sound(source: Source, span: Span, encoding: Encoding) -> list[str]:
    """Arguments for the audio of the span, in step with the picture, or for none."""
    if not (encoding.audio and source.has_audio):
        return ["-an"]
    start, end = (f"{source.seconds(pts):.6f}" for pts in (span.start_pts, span.end_pts))
    graph = f"atrim=start={start}:end={end},asetpts=PTS-({start})/TB"
    return ["-map", "0:a:0", "-af", graph, "-c:a", "aac", "-b:a", "128k"]


def _encode_command(source: Source, wanted: Wanted, encoding: Encoding, out: Path, seek: bool) -> list[str]:
    rate = Fraction(wanted.frames, wanted.span.end_pts - wanted.span.start_pts) / source.time_base
    rate = rate.limit_denominator(1001)
    gop = max(1, round(encoding.gop_s * float(rate)))
    coder = ["-c:v", encoding.codec, "-preset", encoding.preset, "-g", str(gop)]
    if encoding.codec == "libx264":
        # The level follows from the frame rate, which x264 would else take for that of the ticks.
        coder += ["-crf", str(encoding.crf), "-x264-params", f"fps={rate.numerator}/{rate.denominator}"]
    else:
        coder += ["-rc", "vbr", "-cq", str(encoding.crf), "-b:v", "0"]
    return [
        *opened(source, wanted.span, seek),
        *("-filter_threads", "1", "-map", "0:V:0", "-vf", graph(source, wanted, encoding)),
        *_ticks(source),
        *(*coder, "-threads", str(encoding.threads)),
        *("-bsf:v", _shown(wanted)),
        *sound(source, wanted.span, encoding),
        *muxed(out),
    ]


def _shown(wanted: Wanted) -> str:
    """How long each picture is shown: as long as the encoder says, or as they mostly are, and never past the end.

    An mp4 whose end is not behind the start of its last picture hides that picture.
    """
    length = wanted.span.end_pts - wanted.span.start_pts
    usual = round(length / wanted.frames)
    return f"setts=pts=PTS:dts=DTS:duration='min(if(DURATION,DURATION,{usual}),{length}-PTS)'"


def graph(source: Source, wanted: Wanted, encoding: Encoding) -> str:
    """The filters: choose frames, deinterlace, square pixels and 8 bits, crop, shrink, name the colours.

    ffmpeg has turned the picture upright before them.
    """
    span, part = wanted.span, wanted.picture
    primaries, transfer, matrix = colours(source)
    base = f"{source.time_base.numerator}/{source.time_base.denominator}"
    filters = [
        f"settb={base}",
        "select='isnan(prev_selected_pts)+gt(pts,prev_selected_pts)'",  # as scan leaves out what has no later time
        f"trim=start_pts={span.start_pts}:end_pts={span.end_pts}",
        f"setpts=PTS-({span.start_pts})",
    ]
    if source.interlaced:
        filters.append("bwdif=mode=send_frame:parity=auto:deint=all")
    full = f"{source.width}:{source.height}:{_SCALE}"
    if source.hdr:
        filters += [f"scale={full}", *_tone_mapped(source)]
    else:
        named = _OF_SCALE.get(matrix, matrix)
        filters.append(f"scale={full}:in_color_matrix={named}:out_color_matrix={named}:out_range=tv")
    filters.append("format=yuv420p")
    if part != Rectangle(0, 0, source.width, source.height):
        filters.append(f"crop={part.width}:{part.height}:{part.x}:{part.y}")
    width, height = _shrunk(part, encoding.max_short_side_px)
    if (width, height) != (part.width, part.height):
        filters.append(f"scale={width}:{height}:{_SCALE}")
    names = f"color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}"
    return ",".join([*filters, "setsar=1", f"setparams=range=tv:{names}"])


def colours(source: Source) -> tuple[str, str, str]:
    """Primaries, transfer and matrix of the clip: the source's, or what its size makes likely."""
    if source.hdr:
        return "bt709", "bt709", "bt709"
    likely = "bt709" if source.height >= _HD_LINES else "smpte170m"
    return (
        _known(source.primaries, _PRIMARIES, likely),
        _known(source.transfer, _TRANSFERS, likely),
        _known(source.matrix, _MATRICES, likely),
    )


def _known(name: str | None, names: set[str], likely: str) -> str:
    return name if name in names and name is not None else likely


def _tone_mapped(source: Source) -> list[str]:
    """PQ or HLG to BT.709 by the curve of Hable (2010), in linear light where 1.0 is 100 cd/m²."""
    primaries, matrix = _known(source.primaries, _PRIMARIES, "bt2020"), _known(source.matrix, _MATRICES, "bt2020nc")
    return [
        # Tags that the file leaves out; zscale knows no path from what it does not know.
        f"setparams=color_primaries={primaries}:color_trc={source.transfer}:colorspace={matrix}",
        "zscale=t=linear:npl=100",
        "format=gbrpf32le",
        "zscale=p=bt709",
        "tonemap=tonemap=hable:desat=0",
        "zscale=t=bt709:m=bt709:p=bt709:r=tv",
    ]


def _shrunk(part: Rectangle, max_short_side_px: int | None) -> tuple[int, int]:
    """Even width and height with the short side no longer than allowed."""
    short = min(part.width, part.height)
    if max_short_side_px is None or short <= max_short_side_px:
        return part.width, part.height
    factor = Fraction(max_short_side_px // 2 * 2, short)
    return 2 * round(part.width * factor / 2), 2 * round(part.height * factor / 2)


# -- running -------------------------------------------------------------------------------------------------------


def ffmpeg(command: Sequence[str], source: Source, bounds: child.Limits) -> str:
    """Run ffmpeg, return what it printed.

    Raises:
        BadInput: it failed.
        EnvironmentFault: the disk is full or a file handle is stale.
        UnitFailed: this ffmpeg, or this node, cannot do what the settings ask for.
    """
    finished = child.run(command, bounds)
    # The name of a file is not evidence.
    said = finished.stderr_tail.replace(str(source.path), "")
    fault = _ENVIRONMENT.search(said)
    if fault:
        raise EnvironmentFault(f"ffmpeg: {fault[1]}; free the disk or leave the node, then retry")
    lacking = None if finished.ok else _BUILD.search(said)
    if lacking:
        line = said[: lacking.end()].splitlines()[-1] + said[lacking.end() :].split("\n", 1)[0]
        raise UnitFailed(f"ffmpeg: {line}; another build is named by HPC_CURATE_FFMPEG, the encoder by stage.cut.codec")
    if not finished.ok:
        raise BadInput(child.explain(finished))
    return finished.stdout.decode(errors="replace")


def limits(source: Source, wanted: Wanted, seek: bool) -> child.Limits:
    """Bounds far above any honest encode: the slowest presets take some microseconds for a pixel."""
    pixels = source.width * source.height
    before_s = 0.0 if seek else source.seconds(wanted.span.start_pts - source.start_pts)
    cpu_s = 120 + 4e-6 * pixels * wanted.frames + before_s
    return child.Limits(memory_gb=2.5 + 400e-9 * pixels, cpu_s=cpu_s, wall_s=60 + 3 * cpu_s, file_gb=_MAX_GB)
