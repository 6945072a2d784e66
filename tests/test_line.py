"""The whole line on real footage: exact counts, the same tars however it is run, and everything accounted for.

The counts hold for one ffmpeg, the one of the imageio-ffmpeg wheel that tools/constraints.txt pins: another decoder may
move a cut by a frame. A change of these numbers belongs in the changelog, with the reason.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command_line import curate

from hpc_curate import plan as plans
from hpc_curate.io import child
from hpc_curate.run_folder import accounting, books
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

pytestmark = pytest.mark.timeout(600)

FFMPEG = "n9.0.2"
CONTAINERS = ("demo.mp4", "demo.webm", "demo.avi", "demo.mkv")
BAD = {
    "broken.mp4": "Invalid data found when processing input",
    "empty.mp4": "Invalid data found when processing input",
    "sound.mp4": "no video stream",
}
# The session is small, and people sit in it. Which of its containers is best, and who is for validation, must not hang
# on ids, because they hang on where the videos lie.
SETTINGS = [
    *(f"stage.{stage}.rules.crop_short_side_px.min=90" for stage in ("gate", "select")),
    *(f"stage.{stage}.rules.motion.min=0.001" for stage in ("gate", "select")),
    "stage.select.ranking=[bits_per_pixel,sharpness,start_s]",
    "stage.shard.val_share=0",
]

CLIPS = 58
REJECTED = {"duplicate": 30, "luma_mean below 20": 8, "luma_mean above 180": 1}
KEPT = 19
TARS = {
    "train-16x9-720p-5s-000000.tar": 1,
    "train-16x9-720p-under5s-000000.tar": 3,
    "train-16x9-under720p-5s-000000.tar": 5,
    "train-16x9-under720p-under5s-000000.tar": 10,
}

FILES_PER_UNIT = 12


@pytest.fixture(scope="session")
def videos(footage: Path, ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of nine videos: a street, a session in four containers, twenty seconds of a film, three bad files."""
    version = child.ffmpeg_version()
    assert version.startswith(FFMPEG), (
        f"the counts of this test are those of ffmpeg {FFMPEG}, this is {version}; "
        "set HPC_CURATE_FFMPEG to the one in the imageio-ffmpeg wheel of tools/constraints.txt"
    )
    folder = tmp_path_factory.mktemp("videos")
    for name in ("bikes.mp4", *CONTAINERS):
        shutil.copy(footage / name, folder / name)
    film = ["-ss", "60", "-i", footage / "bbb.mp4", "-t", "20", "-an", "-c", "copy", folder / "film.mp4"]
    sound = ["-i", footage / "bbb.mp4", "-t", "3", "-vn", "-c", "copy", folder / "sound.mp4"]
    for options in (film, sound):
        subprocess.run([ffmpeg, "-v", "error", *options], check=True)
    (folder / "broken.mp4").write_bytes((footage / "bikes.mp4").read_bytes()[:20_000])
    (folder / "empty.mp4").touch()
    names = sorted(path.name for path in folder.iterdir())
    table = folder / "videos.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "licence", "mood"])
        rows.writerows([name, "CC-BY-4.0" if name in CONTAINERS else "other", f"as in {name}"] for name in names)
    return table


@pytest.fixture(scope="session")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the line in one process, three videos a unit."""
    run = tmp_path_factory.mktemp("inline") / "run"
    curate("run", f"input={videos}", f"run_dir={run}", "launch=inline", "unit.videos=3", *SETTINGS)
    return run


@pytest.fixture(scope="session")
def found(run: Path) -> books.Books:
    return books.read(plans.load_latest(run))


def product(run: Path) -> dict[str, bytes]:
    """Every file of the folder of tars."""
    (folder,) = run.glob("pack/*/tars")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_video_has_its_state(found: books.Books) -> None:
    rows = accounting.video_rows(found, accounting.clip_rows(found)).to_pylist()
    states = {row["name"]: (row["state"], row["reason"], row["error"]) for row in rows}
    good = {name: ("kept", None, None) for name in ("bikes.mp4", "film.mp4", *CONTAINERS)}
    bad = {name: ("failed", None, error) for name, error in BAD.items()}
    copies = {name: ("rejected", "duplicate", None) for name in ("demo.mkv", "demo.webm")}
    assert states == {**good, **copies, **bad}


def test_clips_are_counted_by_state_and_reason(found: books.Books) -> None:
    clips = accounting.clip_rows(found)
    assert clips.num_rows == CLIPS
    assert Counter(clips["state"].to_pylist()) == {"kept": KEPT, "rejected": CLIPS - KEPT}
    reasons = Counter(clips["reason"].to_pylist())
    assert reasons.pop(None) == KEPT
    assert reasons == REJECTED


def test_duplicates_are_of_the_session_that_came_in_four_containers(found: books.Books) -> None:
    clips = accounting.clip_rows(found).to_pylist()
    name_of = {clip["clip_id"]: clip["name"] for clip in clips}
    pairs = [(clip["name"], name_of[clip["duplicate_of"]]) for clip in clips if clip["reason"] == "duplicate"]
    assert len(pairs) == REJECTED["duplicate"]
    assert {name for pair in pairs for name in pair} == set(CONTAINERS)


def test_the_accounts_add_up(found: books.Books) -> None:
    lines = accounting.funnel(found, final=True).to_pylist()
    totals = {line["step"]: line for line in lines if line["step"] in accounting.TOTALS}
    assert totals["videos in"]["videos"] == 9
    assert totals["clips"]["clips"] == CLIPS
    assert totals["kept"]["clips"] == totals["in tars"]["clips"] == KEPT
    lost = [line["clips"] for line in lines if line["reason"] is None and line["step"] not in accounting.TOTALS]
    assert totals["clips"]["clips"] - sum(clips or 0 for clips in lost) == KEPT


def test_webdataset_reads_the_tars_back(run: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    tars = sorted(run.glob("pack/*/tars/*.tar"))
    samples = {}
    for tar in tars:
        mine = list(webdataset.WebDataset(str(tar), shardshuffle=False))
        samples[tar.name] = len(mine)
        for sample in mine:
            assert sample["mp4"][4:8] == b"ftyp"
            described = json.loads(sample["json"])
            assert described["clip_id"] == sample["__key__"]
            assert sample["npy"][:6] == b"\x93NUMPY"
    assert samples == TARS


def test_columns_of_the_input_table_reach_the_samples(run: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    tars = sorted(str(tar) for tar in run.glob("pack/*/tars/*.tar"))
    described = [json.loads(sample["json"]) for sample in webdataset.WebDataset(tars, shardshuffle=False)]
    assert len(described) == KEPT
    for one in described:
        licence = "CC-BY-4.0" if one["source"] in CONTAINERS else "other"
        assert one["extra"] == {"licence": licence, "mood": f"as in {one['source']}"}
    (card,) = run.glob("pack/*/tars/README.md")
    count = len({one["source"] for one in described} & set(CONTAINERS))
    assert count and f"- CC-BY-4.0: {count} videos" in card.read_text()


def test_nothing_of_this_machine_is_in_the_product(run: Path, videos: Path) -> None:
    for name, content in product(run).items():
        assert str(videos.parent).encode() not in content, name
        assert str(run.parent).encode() not in content, name


def test_processes_and_other_units_make_the_same_bytes(run: Path, videos: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    curate("run", f"input={videos}", f"run_dir={other}", "launch=local", "unit.videos=2", *SETTINGS)
    assert len(list(other.glob("scan/*/*.videos.parquet"))) > len(list(run.glob("scan/*/*.videos.parquet")))
    assert product(other) == product(run)


def test_the_same_command_again_does_nothing(run: Path, videos: Path) -> None:
    def written() -> dict[Path, int]:
        files = [path for path in run.rglob("*") if path.is_file() and "logs" not in path.parts]
        return {path: path.stat().st_mtime_ns for path in files if path.name != "latest"}

    before = written()
    curate("run", f"input={videos}", f"run_dir={run}", "launch=inline", "unit.videos=3", *SETTINGS)
    assert written() == before


def test_the_table_has_a_row_for_each_clip(run: Path, tmp_path: Path) -> None:
    curate("table", str(run), "-o", str(tmp_path / "clips.parquet"))
    table = pq.read_table(tmp_path / "clips.parquet")
    assert table.num_rows == CLIPS == len(set(table["clip_id"].to_pylist()))
    assert table.column_names[:5] == ["clip_id", "uri", "name", "start_s", "end_s"]
    assert table.column_names[-5:] == ["state", "reason", "error", "tar", "offset"]
    measured = {"motion", "sharpness", "luma_mean", "freeze_share", "border_share", "phash", "embedding_model"}
    assert measured <= set(table.column_names)
    tars = Counter(table["tar"].drop_null().to_pylist())
    assert tars == TARS


def test_the_offset_in_the_table_is_where_the_sample_lies(run: Path, tmp_path: Path) -> None:
    curate("table", str(run), "-o", str(tmp_path / "clips.parquet"))
    tars = product(run)
    for clip in pq.read_table(tmp_path / "clips.parquet").to_pylist():
        if clip["tar"] is not None:
            with tarfile.open(fileobj=io.BytesIO(tars[clip["tar"]][clip["offset"] :])) as sample:
                assert sample.getnames()[0] == f"{clip['clip_id']}.mp4"


def test_the_table_of_videos_has_a_row_for_each(run: Path, tmp_path: Path) -> None:
    curate("table", str(run), "--videos", "-o", str(tmp_path / "videos.parquet"))
    table = pq.read_table(tmp_path / "videos.parquet")
    assert Counter(table["state"].to_pylist()) == {"kept": 4, "rejected": 2, "failed": 3}
    assert sum(table["clips"].to_pylist()) == CLIPS


def test_status_says_done(run: Path) -> None:
    status: dict[str, Any] = json.loads(curate("status", str(run), "--json"))
    assert status["state"] == "done"
    assert all(stage["done"] == stage["units"] for stage in status["stages"])
    assert {stage["stage"]: stage["units"] for stage in status["stages"]}["scan"] == 3


def test_the_report_is_found_by_a_plan_that_asks_the_same(run: Path) -> None:
    same = replace(plans.load_latest(run), hash="of another resource")
    page = State(same, Ledger(same.paths)).report()
    assert page is not None and page.is_file()


@pytest.mark.slow
def test_few_files_a_unit(ffmpeg: str, tmp_path: Path) -> None:
    """With so many units that their records are folded; what does not grow with the units is left aside."""
    units = 70
    one = tmp_path / "one.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=5:d=2", "-c:v", "libx264", one]
    subprocess.run([ffmpeg, "-v", "error", *source], check=True)
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(units):
        (folder / f"{number}.mp4").hardlink_to(one)
    run = tmp_path / "run"
    curate("run", f"input={folder}", f"run_dir={run}", "launch=inline", "unit.videos=1")
    plan = plans.load_latest(run)
    spread = [name for name, step in plan.steps.items() if step.units == units]
    files = [path for name in spread for path in run.glob(f"{name}/**/*") if path.is_file()]
    assert set(spread) == {"scan", "shots", "gate", "embed", "cut"}
    assert len(files) / units <= FILES_PER_UNIT
