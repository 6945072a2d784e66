"""One decode into three grids: counts, damage, limits, both decoders."""

from __future__ import annotations

import io
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from waiting import eventually

from hpc_curate.errors import BadInput
from hpc_curate.io.child import Limits
from hpc_curate.io.pipes import Clock, Grid, Picture, Pipes
from hpc_curate.io.video import Decoding, Policy, memory_gb, native_grid, pack_grid, probe, small_grid
from hpc_curate.measures import Frames

LIMITS = Limits(memory_gb=4, cpu_s=120, wall_s=200, file_gb=0.01)
MakeVideo = Callable[..., Path]
CONTAINERS = ["3g2", "3gp", "asf", "avi", "f4v", "flv", "gif", "m1v", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"]
CONTAINERS += ["ogg", "ogv", "rm", "swf", "vob", "webm", "wmv"]


def decode(path: Path, policy: Policy | None = None) -> tuple[Decoding, dict[str, list[np.ndarray | Picture]]]:
    """The decoding after its end, and all pictures by grid."""
    policy = policy or Policy(LIMITS)
    facts = probe(path, formats=policy.formats)
    grids = [small_grid(facts, 64), native_grid(facts, 1.0), pack_grid(facts, 2.0, 640)]
    found: dict[str, list[np.ndarray | Picture]] = {grid.name: [] for grid in grids}
    with Decoding(path, facts, grids, policy) as decoding:
        for name, run in decoding:
            found[name] += list(run.pixels) if isinstance(run, Frames) else run
    return decoding, found


def flip_bits(path: Path, seed: int) -> Path:
    """Five bits of the second half of the file, the index left alone."""
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(len(data) // 2, len(data) * 9 // 10, 5):
        data[at] ^= 1 << int(random.integers(8))
    damaged = path.with_name(f"damaged{seed}{path.suffix}")
    damaged.write_bytes(data)
    return damaged


def test_one_decode_gives_three_grids(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc=s=320x180:r=24:d=3")
    decoding, found = decode(path)
    assert {name: len(pictures) for name, pictures in found.items()} == {"small": 72, "native": 3, "pack": 6}
    assert decoding.counted == (72, 0)
    assert decoding.damage is None
    for picture in found["pack"]:
        assert isinstance(picture, Picture)
        with Image.open(io.BytesIO(picture.jpeg)) as image:
            assert image.size == (picture.width, picture.height) == (320, 180)
            image.load()


def test_the_pack_is_never_larger_than_the_video(make_video: MakeVideo) -> None:
    facts = probe(make_video())
    assert (pack_grid(facts, 2.0, 640).width, pack_grid(facts, 2.0, 32).width) == (64, 32)


def test_a_slow_reader_stalls_nothing_and_loses_nothing(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc=s=640x360:r=25:d=8")
    facts = probe(path)
    counts = {"small": 0, "native": 0, "pack": 0}
    grids = [small_grid(facts, 640), native_grid(facts, 25.0), pack_grid(facts, 25.0, 640)]
    with Decoding(path, facts, grids, Policy(LIMITS)) as decoding:
        for name, run in decoding:
            time.sleep(0.01)
            counts[name] += len(run.pts) if isinstance(run, Frames) else len(run)
    assert counts == {"small": 200, "native": 200, "pack": 200}


def test_leaving_early_leaves_no_process_behind(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc=s=640x360:r=25:d=8")
    facts = probe(path)
    with Decoding(path, facts, [small_grid(facts, 640)], Policy(LIMITS)) as decoding:
        next(iter(decoding))
        pid = decoding.pid
    assert not Path(f"/proc/{pid}").exists()


def test_no_descriptor_is_left_open(make_video: MakeVideo) -> None:
    path = make_video()
    decode(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    decode(path)
    # Threads of tests before may close theirs meanwhile.
    eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)


def test_damage_is_rejected_by_default(make_video: MakeVideo) -> None:
    path = flip_bits(make_video("film.mp4", "testsrc2=s=320x180:r=24:d=4"), seed=1)
    with pytest.raises(BadInput, match="decode: "):
        decode(path)


def test_the_prefix_before_damage_is_the_same_every_time(make_video: MakeVideo) -> None:
    whole = make_video("film.mp4", "testsrc2=s=320x180:r=24:d=4")
    _, undamaged = decode(whole)
    path = flip_bits(whole, seed=1)
    policy = Policy(LIMITS, on_damage="keep_prefix")
    runs = [decode(path, policy) for _ in range(4)]
    counts = {decoding.counted for decoding, _ in runs}
    assert len(counts) == 1
    kept, _ = counts.pop()
    assert 0 < kept < 96
    decoding, found = runs[0]
    assert decoding.damage is not None and decoding.damage.startswith("decode stopped: ")
    # The flipped bits lie in the second half; the decoder need not notice the first of them.
    for one, other in zip(found["small"][:24], undamaged["small"][:24], strict=True):
        assert np.array_equal(one, other)


def test_a_file_cut_short_is_missing_frames(make_video: MakeVideo) -> None:
    whole = make_video("film.avi", "testsrc2=s=320x180:r=24:d=4", "-c:v", "mjpeg", "-q:v", "4")
    path = whole.with_name("cut.avi")
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="declared frames are missing|decode: "):
        decode(path)
    decoding, found = decode(path, Policy(LIMITS, on_damage="keep_prefix"))
    assert decoding.damage is not None
    assert 0 < len(found["small"]) < 96


def test_a_limit_is_no_damage_that_a_prefix_survives(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc=s=640x360:r=25:d=8")
    hurried = Policy(replace(LIMITS, wall_s=0.001), on_damage="keep_prefix")
    with pytest.raises(BadInput, match="time limit"):
        decode(path, hurried)


def test_memory_is_limited(make_video: MakeVideo) -> None:
    path = make_video("film.mp4", "testsrc=s=1920x1080:r=5:d=1")
    with pytest.raises(BadInput, match="memory limit"):
        decode(path, Policy(replace(LIMITS, memory_gb=0.2)))
    facts = probe(path)
    decode(path, Policy(replace(LIMITS, memory_gb=memory_gb(facts, threads=1))))


def test_an_8k_video_fits_its_memory_limit(make_video: MakeVideo) -> None:
    path = make_video("8k.mkv", "color=gray:s=7680x4320:r=5:d=1", "-c:v", "libx264", "-preset", "ultrafast")
    facts = probe(path)
    limits = replace(LIMITS, memory_gb=memory_gb(facts, threads=4))
    decoding, _ = decode(path, Policy(limits, threads=4))
    assert decoding.counted == (5, 0)


def test_more_pixels_than_allowed_are_refused_by_the_probe(make_video: MakeVideo) -> None:
    with pytest.raises(BadInput, match="64 x 48 pixels are more than the 3000 allowed"):
        probe(make_video(), max_pixels=3000)


def test_a_missing_file_and_a_folder_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be opened: No such file"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(BadInput, match="not a regular file"):
        probe(tmp_path)


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_containers_of_the_sample_set(name: str, footage: Path) -> None:
    """The same minute in 21 containers: 1441 frames, a GIF of 120, and two with broken Theora packets."""
    path = footage / f"demo.{name}"
    if name in ("ogg", "ogv"):
        with pytest.raises(BadInput, match="decode: .*theora.* error in unpack_block_qpis"):
            decode(path)
        return
    decoding, found = decode(path)
    assert decoding.counted == ((120, 0) if name == "gif" else (1441, 0))
    assert (len(found["native"]), len(found["pack"])) == ((5, 10) if name == "gif" else (61, 121))


@pytest.mark.parametrize("name", ["demo.mp4", "demo.mkv", "bikes.mp4"])
def test_decord_gives_the_same_times_and_nearly_the_same_pictures(name: str, footage: Path) -> None:
    pytest.importorskip("decord")
    path = footage / name
    facts = probe(path)
    limits = Limits(memory_gb(facts, 1, "decord"), 60, 60, 0.01)
    _, ours = decode(path)
    _, theirs = decode(path, Policy(limits, decoder="decord"))
    # Out-of-gamut colours on a stage: decord clips them to RGB before the luma is taken.
    for grid in ("small", "native"):
        assert len(ours[grid]) == len(theirs[grid])
        differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(ours[grid], theirs[grid], strict=True)]
        assert max(differences) < 4.0
    assert [picture.pts for picture in ours["pack"]] == [picture.pts for picture in theirs["pack"]]
    for one, other in zip(ours["pack"], theirs["pack"], strict=True):
        pixels = [np.asarray(Image.open(io.BytesIO(p.jpeg))).astype(int) for p in (one, other)]
        assert np.abs(pixels[0] - pixels[1]).mean() < 4.0


def test_decord_leaves_out_what_an_edit_list_hides(ffmpeg: str, make_video: MakeVideo, tmp_path: Path) -> None:
    pytest.importorskip("decord")
    options = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50", "-bf", "0"]
    whole = make_video("whole.mp4", "testsrc=s=64x48:r=10:d=3", *options)
    path = tmp_path / "trimmed.mp4"
    subprocess.run([ffmpeg, "-v", "error", "-ss", "0.5", "-i", whole, "-c", "copy", path], check=True)
    _, ours = decode(path)
    _, theirs = decode(path, Policy(replace(LIMITS, memory_gb=12), decoder="decord"))
    assert len(ours["small"]) == len(theirs["small"]) == 25
    for index, picture in enumerate(theirs["small"]):
        assert np.argmin([np.abs(picture.astype(int) - other).mean() for other in ours["small"]]) == index


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes([Grid("small", 2, 2), Grid("pack", 8, 8, Fraction(1))], Clock(Fraction(1, 10)))
    yield made
    made.close()


def write(pipes: Pipes, times: bytes, small: bytes = b"", pack: bytes = b"") -> list[tuple[str, object]]:
    """What comes out when a child writes this and ends."""
    ends = [pipes.times_fd, *pipes.data_fds]

    def child_side() -> None:
        for fd, data in zip(ends, (times, small, pack), strict=True):
            os.write(fd, data)
        pipes.started()

    writer = threading.Thread(target=child_side)
    writer.start()
    try:
        return list(pipes.runs())
    finally:
        writer.join()


def stamp(pts: object, grid: str = "small") -> bytes:
    return f"frame:0    pts:{pts}  pts_time:1\ngrid={grid}\n".encode()


def test_pipes_pair_times_with_pictures(pipes: Pipes) -> None:
    times = stamp(5) + stamp(5, "pack") + stamp("NOPTS") + stamp(4) + stamp(9)
    part = b"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 3\r\n\r\nabc\r\n"
    found = dict(write(pipes, times, bytes(range(48)), part))
    small = found["small"]
    assert isinstance(small, Frames)
    assert small.pts.tolist() == [5, 9]  # neither the one without a time nor the one that goes back
    assert small.times_s.tolist() == [0.0, 0.4]
    assert small.pixels[:, 0, 0, 0].tolist() == [0, 36]
    assert found["pack"] == [Picture(5, 0.0, 8, 8, b"abc")]
    assert pipes.grids["small"].irregular == 2


@pytest.mark.parametrize(
    ("times", "small", "pack", "message"),
    [
        (b"", bytes(12), b"", "1 pictures without a time"),
        (stamp(1) + stamp(2), bytes(12), b"", "1 times without a picture"),
        (stamp(1), bytes(19), b"", "7 bytes of an unfinished one"),
        (b"frame:0 pts:abc\ngrid=small\n" * 40, b"", b"", "times are garbled"),
        (stamp(1, "other"), b"", b"", "times are garbled"),
        (b"", b"", b"x" * 200, "not separated as expected"),
        (b"", b"", b"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 999999999\r\n\r\n", "999999999 bytes"),
    ],
)
def test_pipes_refuse_what_does_not_match(pipes: Pipes, times: bytes, small: bytes, pack: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        write(pipes, times, small, pack)
