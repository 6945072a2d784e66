"""Files that lie, break, attack or hang: each costs one recorded state, and no byte of another file gets out."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.cutters.adaptive import Adaptive
from hpc_curate.errors import BadInput
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.io.video import probe
from hpc_curate.measures.exposure import Exposure
from hpc_curate.measures.sharpness import Sharpness
from hpc_curate.records import Video, local_uri, video_id
from hpc_curate.sources import look, printable
from hpc_curate.stage import Resources, Tables
from hpc_curate.stages.scan import Scan

STAGE = Scan({"exposure": Exposure(), "sharpness": Sharpness()}, {"adaptive": Adaptive()}, min_wall_s=100.0)
CANARY = b"canary-d41d8cd98f-of-another-file"
OK = None  # instead of the pattern of an error
FRAMES = 50

# What `source` is, encoded: moving, so that a broken picture is not a repeat.
CLIPS = {
    "mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "2"],
    "front.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"],
    "mkv": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25"],
    "ts": ["-c:v", "mpeg2video", "-q:v", "3"],
    "avi": ["-c:v", "mpeg4", "-q:v", "3"],
    "webm": ["-c:v", "libvpx-vp9", "-b:v", "400k", "-deadline", "realtime", "-cpu-used", "8"],
    "flv": ["-c:v", "flv1", "-q:v", "3"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "3"],
}
SOURCE = "testsrc2=s=320x180:r=25:d=2"


@pytest.fixture(scope="session")
def clips(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One good clip of 50 frames per container, and stranger things that ffmpeg can make."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str, source: str, *options: str) -> bytes:
        command = [ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, *options, "-threads", "1"]
        subprocess.run([*command, "-bitexact", f"file:{folder / name}"], check=True)
        return (folder / name).read_bytes()

    made = {name: make(f"clip.{name}", SOURCE, *options) for name, options in CLIPS.items()}
    made["audio.mp4"] = make("audio.mp4", "sine=d=1", "-c:a", "aac")
    made["wav"] = make("audio.wav", "sine=d=1")
    made["mp3"] = make("audio.mp3", "sine=d=1", "-f", "mp3", "-c:a", "libmp3lame")
    made["png"] = make("picture.png", SOURCE, "-frames:v", "1")
    made["jpg"] = make("picture.jpg", SOURCE, "-frames:v", "1", "-update", "1")
    bomb = ["-frames:v", "1", "-c:v", "mjpeg", "-q:v", "31", "-pix_fmt", "yuvj420p"]
    made["bomb.mkv"] = make("bomb.mkv", "color=gray:s=16384x8704:r=1:d=1", *bomb)
    made["bomb.avi"] = make("bomb.avi", "color=gray:s=16384x8704:r=1:d=1", *bomb)
    return made


@pytest.fixture
def secret(clips: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder beside the input root, with a text and a video that nobody asked for."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "secret.txt").write_bytes(CANARY)
    (folder / "secret.mp4").write_bytes(clips["mp4"])
    (folder / "secret.ts").write_bytes(clips["ts"])
    return folder


@dataclass
class Inputs:
    """One video of a unit, fetched as the line fetches it."""

    video: Video
    fetcher: Fetcher
    resources: Resources = field(default_factory=lambda: Resources(cpus=2))

    def videos(self) -> list[Video]:
        return [self.video]

    def source(self, video: Video) -> Path:
        return self.fetcher.get(video)


def scan(path: Path, scratch: Path) -> Tables:
    uri = local_uri(path)
    ((size, version),) = look([uri])
    video = Video(video_id(uri), uri, printable(path.name), size, version)
    asked = [f"{name}:{sign}" for name, sign in STAGE.pieces().items()]
    with Fetcher(scratch, SourceSettings()) as fetcher:
        inputs: Any = Inputs(video, fetcher)
        (item,) = STAGE.items(inputs, asked)
        return STAGE.process(None, inputs, item)


def children() -> set[str]:
    """Processes that this one started and that are still there, zombies included."""
    mine = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                mine.add(stat.parent.name)
    return mine


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def everything(tables: Tables) -> bytes:
    sink = pa.BufferOutputStream()
    for table in tables.values():
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


# Name, content or what makes the file, and a pattern of the error: gives the row of `videos`.
Check = Callable[[str | bytes, bytes | Callable[[Path], object], str | None], dict[str, Any]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Writes one file into an input root and scans it; the state must be the one expected, and nothing may remain."""
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    root.mkdir()
    scratch.mkdir()

    def run(name: str | bytes, content: bytes | Callable[[Path], object], error: str | None) -> dict[str, Any]:
        path = root / os.fsdecode(name)
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        before, others, began = tree(tmp_path), children(), time.monotonic()
        tables = scan(path, scratch)
        assert time.monotonic() - began < 90  # it did not hang: that would be ended after 100 s
        assert children() <= others
        assert tree(tmp_path) == before
        assert CANARY not in everything(tables)
        (row,) = tables["videos"].to_pylist()
        if error is OK:
            assert row["error"] is None
            assert tables["frames"].num_rows > 0
        else:
            assert row["error"] is not None
            assert re.search(error, row["error"]), row["error"]
            assert tables["series"].num_rows == tables["frames"].num_rows == 0
        return dict(row)

    return run


DAMAGED = r"^decode: "
UNREADABLE = r"^Invalid data found|^no frame can be decoded"
REFUSED = r"^not one of the containers that are opened: "

# Per container, cut after 1, 10, 50 and 90 percent.
TRUNCATED = {
    "mp4": [UNREADABLE, UNREADABLE, UNREADABLE, UNREADABLE],
    "front.mp4": [UNREADABLE, UNREADABLE, DAMAGED, DAMAGED],
    "mkv": [UNREADABLE, DAMAGED, DAMAGED, DAMAGED],
    "ts": [DAMAGED, DAMAGED, DAMAGED, DAMAGED],
    "avi": [UNREADABLE, DAMAGED, DAMAGED, DAMAGED],
    "webm": [UNREADABLE, UNREADABLE, DAMAGED, DAMAGED],
    "flv": [DAMAGED, DAMAGED, DAMAGED, DAMAGED],
}


@pytest.mark.parametrize(("place", "percent"), list(enumerate([1, 10, 50, 90])))
@pytest.mark.parametrize("name", TRUNCATED)
def test_truncated(name: str, place: int, percent: int, clips: dict[str, bytes], check: Check) -> None:
    data = clips[name]
    check(f"cut.{name}", data[: len(data) * percent // 100], TRUNCATED[name][place])


# VP9 carries no checksum and its entropy coder takes any bits: what is flipped there shows, and is not noticed.
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["mp4", "mkv", "ts", "avi", "flv", "mjpeg.avi", "webm"])
def test_bits_flipped(name: str, seed: int, clips: dict[str, bytes], check: Check) -> None:
    random, damaged = np.random.default_rng(seed), bytearray(clips[name])
    for at in random.integers(len(damaged) // 10, len(damaged) * 9 // 10, 8):
        damaged[at] ^= 1 << int(random.integers(8))
    row = check(f"flipped.{name}", bytes(damaged), OK if name == "webm" else DAMAGED)
    assert row["frames"] == (FRAMES if name == "webm" else None)


def lie(data: bytes, header: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes at an offset behind the name of the first header of that name."""
    at = data.index(header) + 4 + offset
    return data[:at] + value + data[at + len(value) :]


def big(value: int) -> bytes:
    return struct.pack(">I", value)


def little(value: int) -> bytes:
    return struct.pack("<I", value)


MISSING = r"declared frames are missing$"
LIES = {
    "a duration of years": ("mp4", [(b"mdhd", 16, big(2**31))], OK),
    "ticks of no length": ("mp4", [(b"mdhd", 12, big(0))], MISSING),
    "ticks of a second": ("mp4", [(b"mdhd", 12, big(1))], MISSING),
    "a million samples": ("mp4", [(b"stsz", 8, big(10**6))], UNREADABLE),
    "four billion samples": ("mp4", [(b"stsz", 8, big(2**32 - 1))], UNREADABLE),
    "ten samples of fifty": ("mp4", [(b"stsz", 8, big(10))], MISSING),
    "all frames at once": ("mp4", [(b"stts", 12, big(0))], r"frames have no later time than the frame before$"),
    "frames of a day": ("mp4", [(b"stts", 12, big(2**30))], MISSING),
    "two billion times": ("mp4", [(b"stts", 8, big(2**31))], MISSING),
    "16384 pixels in the track": ("mp4", [(b"tkhd", 76, big(16384 << 16)), (b"tkhd", 80, big(16384 << 16))], OK),
    "16384 pixels in the sample": ("mp4", [(b"stsd", 40, b"\x40\x00\x40\x00")], OK),
    "samples beyond the end": ("mp4", [(b"stco", 8, big(2**31))], UNREADABLE),
    "another codec": ("mp4", [(b"stsd", 12, b"hvc1")], UNREADABLE),
    "a codec that nobody has": ("mp4", [(b"stsd", 12, b"zzzz")], r"^no video stream$"),
    "nothing in the data": ("mp4", [(b"mdat", 0, bytes(40_000))], UNREADABLE),
    "noise in the data": ("mp4", [(b"mdat", 20_000, np.random.default_rng(0).bytes(3_000))], DAMAGED),
    "a track of one byte": ("mp4", [(b"trak", -8, big(1))], r"^no video stream$"),
    "two billion edits": ("mp4", [(b"elst", 4, big(2**31))], OK),
    "a matrix of noise": ("mp4", [(b"tkhd", 40, b"\xff" * 36)], OK),
    "a million frames": ("avi", [(b"strh", 36, little(10**6))], MISSING),
    "no scale": ("avi", [(b"strh", 24, little(0))], OK),
    "no rate": ("avi", [(b"strh", 28, little(0))], OK),
    "two billion frames a second": ("avi", [(b"strh", 28, little(2**31 - 1))], r"^its times say 50 frames in "),
    "a frame an hour": (
        "avi",
        [(b"strh", 24, little(3600)), (b"strh", 28, little(1))],
        r"^its times say 50 frames in ",
    ),
    "16384 pixels": ("avi", [(b"strf", 8, little(16384)), (b"strf", 12, little(16384))], OK),
    "a bomb": ("bomb.mkv", [], r"^16384 x 8704 pixels are more than"),
    "a bomb that says it is small": (
        "bomb.avi",
        [(b"strf", 8, little(64)), (b"strf", 12, little(48))],
        r"^16384 x 8704 pixels are more than",
    ),
}


@pytest.mark.parametrize("what", LIES)
def test_lying_headers(what: str, clips: dict[str, bytes], check: Check) -> None:
    name, changes, error = LIES[what]
    data = clips[name]
    for header, offset, value in changes:
        data = lie(data, header, offset, value)
    row = check(f"liar.{name}", data, error)
    if error is OK:
        assert (row["frames"], row["width"], row["height"]) == (FRAMES, 320, 180)
        assert row["duration_s"] == pytest.approx(2.0, abs=0.05)


GIF_BOMB = b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;"
NO_VIDEOS = {
    "zero bytes": (b"", UNREADABLE),
    "one byte": (b"\0", UNREADABLE),
    "zeros": (bytes(100_000), UNREADABLE),
    "noise": (np.random.default_rng(0).bytes(100_000), UNREADABLE),
    "text": (b"hello\n" * 1000, UNREADABLE),
    "a program": (b"\x7fELF" + bytes(5_000), UNREADABLE),
    "a GIF of 65535 pixels": (GIF_BOMB, REFUSED + "|" + UNREADABLE + "|pixels are more|Invalid argument"),
    "a picture": ("png", REFUSED),
    "a photo": ("jpg", REFUSED),
    "audio only": ("audio.mp4", r"^no video stream$"),
    "a wave file": ("wav", REFUSED),
    "a song": ("mp3", REFUSED),
}


@pytest.mark.parametrize("what", NO_VIDEOS)
def test_what_is_no_video(what: str, clips: dict[str, bytes], check: Check) -> None:
    content, error = NO_VIDEOS[what]
    check("film.mp4", clips[content] if isinstance(content, str) else content, error)


# {secret} is a folder beside the input root; each of these makes some ffmpeg open a file in it.
HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" width="320" height="180">'
    "<BaseURL>file://{secret}/secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
PLAYLISTS = {
    "HLS of a video": ("film.mp4", HLS.replace("{target}", "file://{secret}/secret.mp4")),
    "HLS of a stream": ("film.ts", HLS.replace("{target}", "{secret}/secret.ts")),
    "HLS of a text": ("film.avi", HLS.replace("{target}", "file://{secret}/secret.txt")),
    "HLS of a neighbour": ("film.mkv", HLS.replace("{target}", "../secret/secret.ts")),
    "HLS of a service": ("film.mov", HLS.replace("{target}", "http://127.0.0.1:9/secret.ts")),
    "HLS through concat": ("film.flv", HLS.replace("{target}", "concat:{secret}/secret.ts|{secret}/secret.txt")),
    "ffconcat": ("film.mp4", "ffconcat version 1.0\nfile '{secret}/secret.mp4'\n"),
    "ffconcat of a neighbour": ("film.mkv", "ffconcat version 1.0\nfile ../secret/secret.mp4\n"),
    "DASH": ("film.mp4", DASH),
    "SDP": ("film.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"),
    "ffmetadata": ("film.mp4", ";FFMETADATA1\ntitle={secret}/secret.txt\n"),
    "subtitles": ("film.mp4", "1\n00:00:00,000 --> 00:00:02,000\n{secret}/secret.txt\n"),
    "an AviSynth script": ("film.avi", 'DirectShowSource("{secret}/secret.mp4")\n'),
}


@pytest.mark.parametrize("what", PLAYLISTS)
def test_a_playlist_opens_no_other_file(what: str, secret: Path, check: Check) -> None:
    name, text = PLAYLISTS[what]
    check(name, text.replace("{secret}", str(secret)).encode(), f"{REFUSED}|{UNREADABLE}")


def test_it_is_the_list_of_formats_that_refuses(secret: Path) -> None:
    path = secret / "film.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert probe(path, formats="mov,concat").container == "concat"
    with pytest.raises(BadInput, match=REFUSED):
        probe(path)


def test_a_fifo_is_not_waited_for(check: Check) -> None:
    check("film.mp4", os.mkfifo, r"not a regular file$")


def test_a_socket_a_device_and_a_folder_are_no_videos(check: Check) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        check("socket.mp4", lambda path: server.bind(str(path)), r"not a regular file$")
    check("folder.mp4", lambda path: path.mkdir(), r"not a regular file$")


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("../secret/secret.mp4", r"a symbolic link that leaves the input"),
        ("../secret/secret.txt", r"a symbolic link that leaves the input"),
        ("/dev/zero", r"a symbolic link that leaves the input"),
        ("film.mp4", r"cannot be opened"),
        ("nowhere.mp4", r"cannot be opened"),
    ],
)
def test_links_stay_in_the_input(target: str, error: str, secret: Path, check: Check) -> None:
    check("film.mp4", lambda path: path.symlink_to(target), error)


NAMES: list[bytes] = [
    b"-i.mp4",
    b"-f lavfi.mp4",
    b"new\nline.mp4",
    b"a:b.mp4",
    b"http:x.mp4",
    b"pipe:0.mp4",
    b"file:x.mp4",
    b"%03d.mp4",
    b"%s%n.mp4",
    b"'quoted' \"twice\".mp4",
    b"$(touch pwned) `touch pwned`; touch pwned.mp4",
    b"back\\slash.mp4",
    b"[x]{y}*?.mp4",
    b"\xff\xfe.mp4",
    b"tab\tescape\x1b[2J.mp4",
    "\u202eright to left.mp4".encode(),
    b" .mp4",
    b"n" * 251 + b".mp4",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_are_data(name: bytes, clips: dict[str, bytes], check: Check) -> None:
    row = check(name, clips["mp4"], OK)
    assert row["frames"] == FRAMES
    assert row["name"].isprintable() and row["uri"].isprintable()


@pytest.mark.parametrize("name", ["mkv", "ts", "avi", "webm", "flv"])
def test_the_content_decides_and_not_the_name(name: str, clips: dict[str, bytes], check: Check) -> None:
    check("film.mp4", clips[name], OK)


def test_what_follows_a_video_is_ignored(clips: dict[str, bytes], check: Check) -> None:
    assert check("film.mp4", clips["mp4"] + CANARY * 100, OK)["frames"] == FRAMES
