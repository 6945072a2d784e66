"""Time is exact: one pts per decoded frame, whatever the container does. Frame N of a clip has the grey 20 + 10 N."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hpc_curate.errors import BadInput
from hpc_curate.io.child import Limits
from hpc_curate.io.video import Decoding, Policy, native_grid, pack_grid, probe, small_grid
from hpc_curate.measures import Frames

LIMITS = Limits(memory_gb=4, cpu_s=120, wall_s=200, file_gb=0.01)
GREYS = "color=black:s=64x48:r={rate}:d=10,geq=lum='20+10*N':cb=128:cr=128,trim=end_frame=20"
X264 = ["-c:v", "libx264", "-qp", "1", "-pix_fmt", "yuv420p", "-threads", "1", "-color_range", "tv"]
MakeVideo = Callable[..., Path]


def decoded(path: Path, policy: Policy | None = None) -> tuple[list[int], list[int], Fraction]:
    """Number of each frame as its grey tells, its pts, and the time base."""
    facts = probe(path)
    numbers: list[int] = []
    pts: list[int] = []
    with Decoding(path, facts, [small_grid(facts, 64)], policy or Policy(LIMITS)) as decoding:
        for _, frames in decoding:
            assert isinstance(frames, Frames)
            grey = frames.pixels.mean(axis=(1, 2, 3)) * 219 / 255 + 16
            numbers += np.round((grey - 20) / 10).astype(int).tolist()
            pts += frames.pts.tolist()
    return numbers, pts, facts.time_base


def seconds(pts: list[int], time_base: Fraction) -> list[float]:
    return [round(float(ticks * time_base), 4) for ticks in pts]


def greys(rate: str = "10", more: str = "") -> str:
    return GREYS.format(rate=rate) + more


def test_a_variable_rate_is_kept_and_no_frame_is_doubled(make_video: MakeVideo) -> None:
    later = ",settb=1/1000,setpts='if(lt(N,10),N*100,1000+(N-10)*300)'"
    path = make_video("variable.mkv", greys(more=later), "-fps_mode", "passthrough", *X264)
    numbers, pts, base = decoded(path)
    assert numbers == list(range(20))
    assert seconds(pts, base) == [round(n * 0.1 if n < 10 else 1 + (n - 10) * 0.3, 4) for n in range(20)]


@pytest.mark.parametrize("name", ["offset.mkv", "offset.ts", "offset.mp4"])
def test_a_start_offset_stays_in_the_ticks(name: str, make_video: MakeVideo) -> None:
    path = make_video(name, greys(), *X264, "-output_ts_offset", "5")
    numbers, pts, base = decoded(path)
    assert numbers == list(range(20))
    assert [round(t - seconds(pts, base)[0], 4) for t in seconds(pts, base)] == [round(n * 0.1, 4) for n in range(20)]
    assert seconds(pts, base)[0] >= 5


def test_what_an_edit_list_hides_is_neither_decoded_nor_missing(
    ffmpeg: str, make_video: MakeVideo, tmp_path: Path
) -> None:
    whole = make_video("whole.mp4", greys(), *X264, "-g", "20", "-bf", "0")
    path = tmp_path / "trimmed.mp4"
    subprocess.run([ffmpeg, "-v", "error", "-ss", "0.5", "-i", whole, "-c", "copy", path], check=True)
    assert probe(path).declared_frames == 20
    numbers, pts, base = decoded(path)
    assert numbers == list(range(5, 20))
    assert seconds(pts, base) == [round(n * 0.1, 4) for n in range(15)]


def test_24000_1001_is_a_fraction_all_the_way(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", greys("24000/1001"), *X264)
    numbers, pts, base = decoded(path)
    assert probe(path).fps == Fraction(24000, 1001)
    assert numbers == list(range(20))
    assert [ticks * base for ticks in pts] == [n * Fraction(1001, 24000) for n in range(20)]


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts", "b.avi"])
def test_b_frames_come_in_the_order_they_are_shown(name: str, make_video: MakeVideo) -> None:
    codec = ["-c:v", "mpeg4", "-q:v", "1"] if name.endswith("avi") else X264
    path = make_video(name, greys(), *codec, "-bf", "2", "-g", "20")
    numbers, pts, base = decoded(path)
    assert numbers == list(range(20))
    gaps = np.diff(seconds(pts, base))
    assert np.allclose(gaps, 0.1, atol=1e-3)


def test_audio_that_starts_first_moves_no_frame(ffmpeg: str, tmp_path: Path) -> None:
    path = tmp_path / "audio_first.mkv"
    inputs = ["-f", "lavfi", "-i", "sine=d=3", "-itsoffset", "0.7", "-f", "lavfi", "-i", greys()]
    subprocess.run([ffmpeg, "-v", "error", *inputs, *X264, "-c:a", "aac", path], check=True)
    assert probe(path).audio_codec == "aac"
    numbers, pts, base = decoded(path)
    assert numbers == list(range(20))
    assert seconds(pts, base) == [round(0.7 + n * 0.1, 4) for n in range(20)]


def test_grids_take_the_first_frame_of_each_cell(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", greys("24000/1001"), *X264)
    facts = probe(path)
    found: dict[str, list[int]] = {"small": [], "native": [], "pack": []}
    grids = [small_grid(facts, 64), native_grid(facts, 4.0), pack_grid(facts, 8.0, 64)]
    with Decoding(path, facts, grids, Policy(LIMITS)) as decoding:
        for name, run in decoding:
            found[name] += [picture.pts for picture in run] if isinstance(run, list) else run.pts.tolist()
    times = {ticks: (ticks - found["small"][0]) * facts.time_base for ticks in found["small"]}
    for name, per_s in (("native", 4), ("pack", 8)):
        cells: dict[int, int] = {}
        for ticks, time_s in times.items():
            cells.setdefault(int(time_s * per_s), ticks)
        assert found[name] == list(cells.values())


def joined(first: bytes, second: bytes) -> bytes:
    """Two MPEG transport streams as one without a gap in its packet counters; the clock begins again."""
    counters: dict[int, int] = {}
    whole = bytearray(first + second)
    for at in range(0, len(whole), 188):
        if whole[at + 3] & 0x10:
            pid = int.from_bytes(whole[at + 1 : at + 3], "big") & 0x1FFF
            counters[pid] = (counters.get(pid, -1) + 1) % 16
            whole[at + 3] = whole[at + 3] & 0xF0 | counters[pid]
    return bytes(whole)


def test_frames_without_a_later_time_are_left_out_and_recorded(make_video: MakeVideo, tmp_path: Path) -> None:
    options = ["-c:v", "mpeg2video", "-q:v", "2"]
    long = make_video("long.ts", "color=gray:s=64x48:r=25:d=8", *options).read_bytes()
    again = {n: make_video(f"{n}.ts", f"color=gray:s=64x48:r=25:d={n / 25}", *options).read_bytes() for n in (1, 50)}
    path = tmp_path / "joined.ts"
    path.write_bytes(joined(long, again[1]))
    facts = probe(path)
    with Decoding(path, facts, [small_grid(facts, 64)], Policy(LIMITS)) as decoding:
        runs = [run for _, run in decoding if isinstance(run, Frames)]
    assert decoding.damage == "1 of 201 frames have no later time than the frame before; left out"
    assert decoding.counted == (200, 1)
    assert sum(len(run.pixels) for run in runs) == 200
    assert np.all(np.diff(np.concatenate([run.pts for run in runs])) > 0)
    path.write_bytes(joined(long, again[50]))
    with (
        pytest.raises(BadInput, match="50 of 250 frames have no later time"),
        Decoding(path, facts, [small_grid(facts, 64)], Policy(LIMITS)) as decoding,
    ):
        list(decoding)
