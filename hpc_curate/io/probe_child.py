"""The probe, as a child process: open one file, decode one frame, print the facts as JSON.

`python -m hpc_curate.io.probe_child probe|packets PATH FORMATS MAX_PIXELS`. Input that cannot be used is
`{"error": reason}` with status 0; any other status is a crash, a limit or a bug.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from typing import Any

# ITU-T H.273 numbers by the names that ffmpeg prints.
_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
_PRIMARIES |= {11: "smpte431", 12: "smpte432"}
_TRANSFERS = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 13: "iec61966-2-1"}
_TRANSFERS |= {14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}
_MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco"}
_MATRICES |= {9: "bt2020nc", 10: "bt2020c"}
_LEAST_BYTES = 20  # of an MPEG-4 picture; ffmpeg takes what is shorter for a repeat, too
_RANGES = {1: "tv", 2: "pc"}


class Unusable(Exception):
    """The file is no video that we take."""


def probe(path: str, formats: str, max_pixels: int) -> dict[str, Any]:
    """The facts of the first video stream that is not a cover picture."""
    with _opened(path, formats) as container:
        stream = _video_stream(container)
        context = stream.codec_context
        if context.width * context.height > max_pixels:
            raise Unusable(f"{context.width} x {context.height} pixels are more than the {max_pixels} allowed")
        context.thread_count = 1
        frame = next(container.decode(stream), None)
        if frame is None:
            raise Unusable("no frame can be decoded")
        if frame.width * frame.height > max_pixels:
            raise Unusable(f"{frame.width} x {frame.height} pixels are more than the {max_pixels} allowed")
        audio = container.streams.audio
        return {
            "stream": stream.index,
            "container": container.format.name,
            "codec": context.codec.canonical_name,
            "profile": str(context.profile) if context.profile else None,
            "pix_fmt": frame.format.name,
            "coded_width": frame.width,
            "coded_height": frame.height,
            "rotation": _rotation(frame),
            "sar": _fraction(stream.sample_aspect_ratio) or "1",
            "fps": _fraction(stream.average_rate) or _fraction(stream.guessed_rate) or "25",
            "time_base": str(stream.time_base),
            "declared_frames": stream.frames or None,
            "declared_s": _declared_seconds(container, stream),
            "interlaced": bool(frame.interlaced_frame),
            "color_primaries": _PRIMARIES.get(int(frame.color_primaries)),
            "color_transfer": _TRANSFERS.get(int(frame.color_trc)),
            "color_space": _MATRICES.get(int(frame.colorspace)),
            "color_range": _RANGES.get(int(frame.color_range)),
            "audio_codec": audio[0].codec_context.name if audio else None,
        }


def packets(path: str, formats: str, max_pixels: int) -> dict[str, int]:
    """Packets of the video stream by what becomes of them.

    `shown` makes a picture, `hidden` is cut away by an edit list, `empty` repeats the picture before it. AVI declares
    the slots of its time line: one that was left out, or holds too little for a picture, is empty.
    """
    counts = {"shown": 0, "hidden": 0, "empty": 0}
    with _opened(path, formats) as container:
        slots = container.format.name == "avi"
        for packet in container.demux(_video_stream(container)):
            if packet.dts is None:
                continue  # the flush at the end
            short = slots and packet.size < _LEAST_BYTES
            counts["hidden" if packet.is_discard else "empty" if short else "shown"] += 1
            if slots:
                counts["empty"] = max(counts["empty"], packet.dts + 1 - counts["shown"])
    return counts


def _opened(path: str, formats: str) -> Any:
    import av

    try:
        return av.open("file:" + path, options={"format_whitelist": formats, "protocol_whitelist": "file,pipe"})
    except av.ArgumentError as error:  # the word for a format outside the list
        raise Unusable(f"not one of the containers that are opened: {formats}") from error


def _video_stream(container: Any) -> Any:
    import av.stream

    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover and stream.codec_context is not None:
            return stream
    raise Unusable("no video stream")


def _rotation(frame: Any) -> int:
    """Degrees clockwise that a player turns the picture by, a multiple of 90."""
    return round(-frame.rotation / 90) * 90 % 360


def _fraction(value: Fraction | None) -> str | None:
    return str(value) if value is not None and value > 0 else None


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def main(arguments: list[str]) -> None:
    import av

    kind, path, formats, max_pixels = arguments
    av.logging.set_level(av.logging.PANIC)
    try:
        answer = {"probe": probe, "packets": packets}[kind](path, formats, int(max_pixels))
    except Unusable as error:
        answer = {"error": str(error)}
    except av.FFmpegError as error:
        answer = {"error": error.strerror}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
