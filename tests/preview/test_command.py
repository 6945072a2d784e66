"""The grid, from videos and from a run, looked at through a decoder of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from webserver import serving

from hpc_curate import cli
from hpc_curate.preview import command

TOOL = Path(__file__).resolve().parents[2] / "tools" / "grid_preview_generation.py"
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1")
# Grey grows by 20 in each second.
CLOCK = "color=black:s=64x36:r={fps}:d={seconds},geq=lum='40+20*floor(T)':cb=128:cr=128"


def played(ffmpeg: str, grid: Path) -> np.ndarray:
    """uint8 [N, H, W], luma."""
    with Image.open(grid.with_suffix(".png")) as poster:
        width, height = poster.size
    command = [ffmpeg, "-v", "error", "-i", grid, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    pixels = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width)


def table(grid: Path) -> dict:
    return json.loads(grid.with_suffix(".json").read_text())


def grid(*words: str | Path) -> int:
    return cli.main(["preview", *map(str, words)])


def test_each_tile_plays_as_fast_as_its_file_and_begins_again_at_its_end(
    make_video: Callable[..., Path], ffmpeg: str, tmp_path: Path
) -> None:
    make_video("videos/slow.mp4", CLOCK.format(fps=5, seconds=4), *H264)
    make_video("videos/fast.mp4", CLOCK.format(fps=50, seconds=2), *H264)
    out = tmp_path / "new" / "grid.mp4"
    assert grid(tmp_path / "videos", "-o", out, "--seconds", 4, "--fps", 10, "--cols", 4, "--rows", 3) == 0
    frames, told = played(ffmpeg, out), table(out)
    assert len(frames) == 40
    assert (told["columns"], told["rows"]) == (2, 1)  # nothing is empty
    for tile in told["tiles"]:
        x = 4 + tile["column"] * 196
        seconds = frames[5::10, 40:60, x + 60 : x + 120].mean(axis=(1, 2))
        steps = np.round(np.diff(seconds) / (20 * 255 / 219)).tolist()
        assert steps == ([1, 1, 1] if tile["uri"].endswith("slow.mp4") else [1, -1, 1])


def test_a_browser_can_play_it(make_video: Callable[..., Path], ffmpeg: str, tmp_path: Path) -> None:
    make_video("videos/one.mp4")
    assert grid(tmp_path / "videos", "-o", tmp_path / "grid.mp4", "--seconds", 1, "--fps", 5) == 0
    said = subprocess.run([ffmpeg, "-i", tmp_path / "grid.mp4"], capture_output=True, text=True).stderr
    assert "h264" in said and "yuv420p" in said
    assert (tmp_path / "grid.mp4").read_bytes().index(b"moov") < (tmp_path / "grid.mp4").read_bytes().index(b"mdat")


def test_the_shape_of_a_picture_is_kept_pixel_aspect_included(make_video: Callable[..., Path], tmp_path: Path) -> None:
    make_video("videos/tall.mp4", "color=white:s=64x64:r=10:d=1,setsar=1/2", *H264)
    assert grid(tmp_path / "videos", "-o", tmp_path / "sheet.png", "--seconds", 1, "--fps", 5) == 0
    assert not (tmp_path / "sheet.mp4").exists()
    with Image.open(tmp_path / "sheet.png") as sheet:
        picture = np.asarray(sheet.convert("L"))[4:112, 4:196] > 128
    assert (picture.any(axis=1).sum(), picture.any(axis=0).sum()) == (108, 54)


def test_a_bad_file_leaves_no_hole_and_is_named(make_video: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(3):
        make_video(f"videos/{number}.MP4")
    (tmp_path / "videos" / "broken.mkv").write_bytes(b"no video")
    (tmp_path / "videos" / "away.mp4").symlink_to("/nowhere.mp4")
    words = ("--cols", 3, "--rows", 1, "--seconds", 1, "--fps", 5)
    seen = []
    for seed in range(4):
        assert grid(tmp_path / "videos", "-o", tmp_path / "grid.png", "--seed", seed, *words) == 0
        told = table(tmp_path / "grid.png")
        assert len(told["tiles"]) == 3 and {tile["column"] for tile in told["tiles"]} == {0, 1, 2}
        seen += [Path(bad["uri"]).name for bad in told["left_out"] if bad["error"]]
    assert set(seen) == {"broken.mkv", "away.mp4"}


def test_the_clips_of_a_run_play_from_its_frame_packs(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video("videos/one.mp4", "testsrc=s=320x180:r=10:d=8", *H264)
    run = tmp_path / "run"
    words = [f"input={video.parent}", f"run_dir={run}", "launch=inline", "stage=[scan,shots]", "cutter=stride"]
    assert cli.main(["run", *words, "cutter.stride.stride_s=2", "measure=[exposure]"]) == 0
    video.unlink()
    out = tmp_path / "grid.png"
    assert grid(run, "-o", out, "--by", "luma_mean", "--cols", 2, "--rows", 2) == 0
    clips = table(out)["tiles"]
    assert sorted(tile["start_s"] for tile in clips) == [0, 2, 4, 6]
    capsys.readouterr()
    assert grid(run, "-o", out, "--where", "state=rejected") == 2
    assert "no clip has state=rejected; there is pending" in capsys.readouterr().err
    assert grid(run, "-o", out, "--by", "beauty") == 2
    said = capsys.readouterr().err
    assert "clips have no column 'beauty'; there is " in said and said.count(",") < 10


def test_the_videos_that_a_run_fetched_play_and_what_needs_clips_says_what_does_not(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("site/one.mp4")
    raw, out, listing = tmp_path / "raw", tmp_path / "grid.png", tmp_path / "list.txt"
    with serving(tmp_path / "site") as url:
        listing.write_text(f"{url}/one.mp4\n{url}/never.mp4\n")
        words = [f"input={listing}", f"run_dir={raw}", "launch=inline", "source.web.private_hosts=[127.0.0.1]"]
        assert cli.main(["fetch", *words]) == 0
    assert grid(raw, "-o", out, "--seconds", 1, "--fps", 5) == 0
    (tile,) = table(out)["tiles"]
    assert Path(tile["uri"].removeprefix("file://")).is_relative_to(raw)
    capsys.readouterr()
    for verb in ("funnel", "report"):
        assert cli.main([verb, str(raw)]) == 2
        assert f"no clips: hpc-curate table {raw} --videos -o videos.csv lists them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "a.gif"], "a.gif: the name must end in .mp4, or .png for a contact sheet alone, such as a.mp4"),
        (["-o", "a.png", "--by", "beauty"], "--by folder only, not by beauty"),
        (["-o", "a.png", "--where", "state=kept"], "--where is for the clips of a run"),
    ],
)
def test_what_cannot_be_asked_of_videos_is_said(
    make_video: Callable[..., Path], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert grid(make_video("videos/one.mp4").parent, *words) == 2
    assert said in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_over_on_a_terminal_and_never_in_a_log() -> None:
    drawn = {}
    for kind in (Terminal, io.StringIO):
        with command.Bar("tiles", 50, kind()) as bar:
            for number in range(1, 51):
                bar.at(number)
            drawn[kind] = bar.stream.getvalue()
    assert drawn[Terminal].count("\r") == 50 and drawn[Terminal].endswith(f" {'█' * 30} 50/50")
    assert drawn[io.StringIO] == ""


def test_the_tool_says_what_it_cannot_write_before_it_decodes(tmp_path: Path) -> None:
    words = [sys.executable, TOOL, "--input_dir", tmp_path / "nothing", "--output_video", tmp_path / "folder"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "grid.mp4" in done.stderr


def test_the_tool_makes_the_same_grid(make_video: Callable[..., Path], tmp_path: Path) -> None:
    make_video("videos/one.mp4")
    shape = ["--cols", "2", "--rows", "1", "--fps", "5"]
    words = ["--input_dir", tmp_path / "videos", "--output_video", tmp_path / "a" / "grid.mp4", "--video_length", "1"]
    done = subprocess.run([sys.executable, TOOL, *words, *shape], check=True, capture_output=True, text=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1  # no bar in a log
    assert grid(tmp_path / "videos", "-o", tmp_path / "grid.mp4", "--seconds", 1, *shape) == 0
    assert (tmp_path / "grid.mp4").read_bytes() == (tmp_path / "a" / "grid.mp4").read_bytes()
