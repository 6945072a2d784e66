"""Geometry and colour, checked by pixels: everything is in display orientation, and a colour is what a player shows."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpc_curate.errors import BadInput
from hpc_curate.io.child import Limits
from hpc_curate.io.video import Decoding, Policy, VideoFacts, native_grid, pack_grid, probe, small_grid
from hpc_curate.measures import Frames

LIMITS = Limits(memory_gb=4, cpu_s=120, wall_s=200, file_gb=0.01)
# Red above blue on the left, green above white on the right.
QUARTERS = (
    "color=red:s=64x32:r=5:d=1[a];color=lime:s=64x32:r=5:d=1[b];color=blue:s=64x32:r=5:d=1[c];"
    "color=white:s=64x32:r=5:d=1[d];[a][b]hstack[t];[c][d]hstack[u];[t][u]vstack,"
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
)
TAGGED = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
X264 = ["-c:v", "libx264", "-qp", "1", "-threads", "1"]
COLOURS = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
MakeVideo = Callable[..., Path]
MakeTurned = Callable[[str, int], Path]


@pytest.fixture
def make_turned(ffmpeg: str, make_video: MakeVideo, tmp_path: Path) -> MakeTurned:
    """A clip with a display matrix that turns it by degrees counterclockwise."""

    def make(source: str, degrees: int) -> Path:
        plain, path = make_video("plain.mp4", source, *X264, *TAGGED), tmp_path / "turned.mp4"
        turn = ["-display_rotation", str(degrees), "-i", plain, "-c", "copy", path]
        subprocess.run([ffmpeg, "-v", "error", *turn], check=True)
        return path

    return make


def pictures(path: Path, policy: Policy | None = None) -> tuple[VideoFacts, np.ndarray, np.ndarray, np.ndarray]:
    """The facts and the first picture of each grid: small RGB, native luma, the JPEG as its reader sees it."""
    facts = probe(path)
    grids = [small_grid(facts, 64), native_grid(facts, 1.0), pack_grid(facts, 1.0, 96)]
    first: dict[str, np.ndarray] = {}
    with Decoding(path, facts, grids, policy or Policy(LIMITS)) as decoding:
        for name, run in decoding:
            if name not in first:
                jpeg = run[0].jpeg if isinstance(run, list) else b""
                first[name] = (
                    run.pixels[0]
                    if isinstance(run, Frames)
                    else np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
                )
    return facts, first["small"], first["native"], first["pack"]


def corners(picture: np.ndarray) -> str:
    """The nearest colour in the middle of each quarter: top left, top right, bottom left, bottom right."""
    height, width = picture.shape[:2]
    seen = ""
    for y, x in ((1, 1), (1, 3), (3, 1), (3, 3)):
        pixel = picture[y * height // 4, x * width // 4].astype(int)
        name, colour = min(COLOURS.items(), key=lambda item: np.abs(pixel - item[1]).max())
        assert np.abs(pixel - colour).max() <= 12, f"{pixel} is not {name}"
        seen += name
    return seen


@pytest.mark.parametrize(
    ("counterclockwise", "clockwise", "seen"),
    [(0, 0, "rgbw"), (90, 270, "gwrb"), (180, 180, "wbgr"), (-90, 90, "brwg")],
)
def test_rotation_is_applied(counterclockwise: int, clockwise: int, seen: str, make_turned: MakeTurned) -> None:
    facts, small, native, jpeg = pictures(make_turned(QUARTERS, counterclockwise))
    upright = clockwise % 180 == 0
    assert facts.rotation == clockwise
    assert (facts.width, facts.height) == ((128, 64) if upright else (64, 128))
    assert (facts.coded_width, facts.coded_height) == (128, 64)
    assert small.shape == ((32, 64, 3) if upright else (64, 32, 3))
    assert native.shape == (facts.height, facts.width)
    assert corners(small) == corners(jpeg) == seen


def test_pixels_that_are_not_square_are_stretched(make_video: MakeVideo) -> None:
    path = make_video("wide.mp4", f"{QUARTERS},setsar=2", *X264, *TAGGED)
    facts, small, native, jpeg = pictures(path)
    assert (facts.width, facts.height) == (256, 64)
    assert native.shape == (64, 256)
    assert small.shape == (16, 64, 3)
    assert jpeg.shape == (24, 96, 3)
    assert corners(small) == corners(jpeg) == "rgbw"


def test_pixel_aspect_and_rotation_together(make_turned: MakeTurned) -> None:
    facts, small, native, _ = pictures(make_turned(f"{QUARTERS},setsar=2", -90))
    assert (facts.width, facts.height) == (64, 256)
    assert native.shape == (256, 64)
    assert corners(small) == "brwg"


def test_an_absurd_pixel_aspect_is_refused(make_video: MakeVideo) -> None:
    path = make_video("absurd.mkv", f"{QUARTERS},setsar=1/100", *X264)
    with pytest.raises(BadInput, match="pixel aspect of 1/100"):
        probe(path)


def test_luma_is_full_range(make_video: MakeVideo) -> None:
    path = make_video("steps.mp4", "color=black:s=64x64:r=5:d=1,drawbox=w=32:c=white:t=fill,format=yuv420p", *X264)
    _, small, native, jpeg = pictures(path)
    assert native[32, 10] >= 254 and native[32, 54] <= 1
    assert small[32, 10].min() >= 254 and small[32, 54].max() <= 1
    assert jpeg[32, 10].min() >= 250 and jpeg[32, 54].max() <= 5


@pytest.mark.parametrize(("matrix", "size"), [("bt709", "1280x720"), ("bt601", "640x480")])
def test_an_untagged_picture_has_the_colours_a_player_shows(matrix: str, size: str, make_video: MakeVideo) -> None:
    source = f"color=red:s={size}:r=5:d=0.4,scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p"
    untag = ["-colorspace", "unknown", "-color_primaries", "unknown", "-color_trc", "unknown"]
    path = make_video("untagged.mkv", f"{source},setparams=colorspace=unknown", *X264, *untag)
    facts, small, _, jpeg = pictures(path)
    assert facts.color_space is None
    for picture in (small, jpeg):
        # 8-bit chroma costs 10; the wrong matrix would cost 25.
        assert np.abs(picture[5, 5].astype(int) - (255, 0, 0)).max() <= 12


def test_interlaced_sources_are_known(make_video: MakeVideo) -> None:
    path = make_video("fields.mkv", f"{QUARTERS},setfield=tff", *X264, "-flags", "+ildct+ilme", "-x264opts", "tff=1")
    assert probe(path).interlaced
    assert not probe(make_video("frames.mkv", QUARTERS, *X264)).interlaced


@pytest.mark.parametrize(("transfer", "hdr"), [("smpte2084", True), ("arib-std-b67", True), ("bt709", False)])
def test_hdr_is_told_by_the_transfer(transfer: str, hdr: bool, make_video: MakeVideo) -> None:
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    path = make_video("hdr.mkv", f"{QUARTERS},{tags}", *X264)
    facts = probe(path)
    assert facts.hdr is hdr
    assert (facts.color_primaries, facts.color_transfer, facts.color_space) == ("bt2020", transfer, "bt2020nc")
    assert facts.color_range == "tv"


def test_a_strip_of_a_picture_keeps_a_small_frame_that_measures_can_use(make_video: MakeVideo) -> None:
    facts, small, _, _ = pictures(make_video("strip.mkv", "color=red:s=640x16:r=5:d=0.4,format=yuv420p", *X264))
    assert (facts.width, facts.height) == (640, 16)
    assert small.shape == (8, 64, 3)


def test_a_cover_picture_is_not_the_video(ffmpeg: str, make_video: MakeVideo, tmp_path: Path) -> None:
    film = make_video("film.mp4", QUARTERS, *X264)
    cover = make_video("cover.png", "color=lime:s=32x32", "-frames:v", "1")
    path = tmp_path / "with_cover.mp4"
    command = [ffmpeg, "-v", "error", "-i", cover, "-i", film, "-map", "0", "-map", "1", "-c:v:0", "mjpeg"]
    subprocess.run([*command, "-disposition:v:0", "attached_pic", "-c:v:1", "copy", path], check=True)
    facts, small, _, _ = pictures(path)
    assert facts.codec == "h264"
    assert corners(small) == "rgbw"


def test_a_picture_that_changes_its_size_half_way_is_scaled_to_the_first(make_video: MakeVideo, tmp_path: Path) -> None:
    """Two H.264 streams, one after the other, as a recorded call has them."""
    parts = [
        make_video(f"{size}.h264", f"color=red:s={size}:r=5:d=1,format=yuv420p", *X264) for size in ("128x64", "64x32")
    ]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    path = tmp_path / "both.h264"
    facts = probe(path, formats="h264")
    grids = [small_grid(facts, 64), native_grid(facts, 5.0)]
    counts = {"small": 0, "native": 0}
    with Decoding(path, facts, grids, Policy(LIMITS, formats="h264")) as decoding:
        for name, run in decoding:
            assert isinstance(run, Frames)
            assert run.pixels.shape[1:3] == ((32, 64) if name == "small" else (64, 128))
            counts[name] += len(run.pixels)
    assert counts["small"] == 10
