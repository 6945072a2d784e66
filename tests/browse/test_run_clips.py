import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from hpc_curate import cli
from hpc_curate import plan as plans
from hpc_curate.browse.catalogue import Collection, open_collection
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.records import video_of

STAGES = "scan,shots,gate,embed,dedup,select,cut,shard,pack,index"


def curate(run_dir: Path, videos: Path, stages: str) -> None:
    words = [
        "source.profile=lab",
        f"input={videos}",
        f"run_dir={run_dir}",
        "launch=inline",
        f"stage=[{stages}]",
        "gate=none",
    ]
    assert cli.main(["run", *words, "stage.select.rules={motion: {min: 0.002}}"]) == 0


@pytest.fixture(scope="module")
def videos(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is kept, one without motion, one that is no video."""
    import subprocess

    folder = tmp_path_factory.mktemp("videos")
    for name, source in (("moving.mp4", "testsrc2=s=640x360:r=24:d=3"), ("still.avi", "smptebars=s=640x360:r=24:d=3")):
        command = [ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]
        subprocess.run([*command, "-threads", "1", folder / name], check=True)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def begun(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which the first stages are done."""
    run_dir = tmp_path_factory.mktemp("begun") / "run"
    curate(run_dir, videos, "scan,shots,gate")
    return run_dir


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Collection]]:
    collections = []

    def open_it(of: Path, plan_hash: str | None = None) -> Collection:
        collections.append(open_collection(str(of), plan_hash=plan_hash))
        return collections[-1]

    yield open_it
    for collection in collections:
        collection.close()


def by_name(collection: Collection) -> dict[str, dict]:
    return {row["name"]: row for row in collection.catalogue().rows.to_pylist()}


def test_a_run_that_has_begun_shows_what_it_has_by_then_and_later_the_rest(begun, videos, opened, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(begun, run_dir)
    collection = opened(begun)
    rows = by_name(collection)
    assert collection.kind == "run" and collection.plan is not None and collection.progress().done
    assert {name: (row["what"], row["state"]) for name, row in rows.items()} == {
        "moving.mp4": ("clip", "pending"),
        "still.avi": ("clip", "pending"),
        "broken.mp4": ("video", "failed"),
    }
    assert rows["broken.mp4"]["error"] and rows["moving.mp4"]["motion"] > 0.002
    media = collection.media(rows["still.avi"]["id"])
    assert (media.uri, media.start_s, media.end_s) == (str(videos / "still.avi"), 0, 3)
    with Image.open(io.BytesIO(collection.poster(rows["still.avi"]["id"]))) as poster:
        assert poster.format == "JPEG" and max(poster.size) <= 480
    assert collection.poster(rows["broken.mp4"]["id"]) is None


def test_a_video_has_the_same_id_in_its_folder_and_in_a_run(begun, videos, opened):
    folder = opened(videos)
    folder.wait(150)
    ids = {name: row["id"] for name, row in by_name(folder).items()}
    rows = by_name(opened(begun))
    assert ids == {name: video_of(row["id"]) for name, row in rows.items()} and len(ids) == 3


def test_a_new_plan_is_looked_at_unless_one_was_named(begun, videos, opened, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(begun, run_dir)
    first = plans.load_latest(run_dir).hash
    following, named = opened(run_dir), opened(run_dir, first[:6])
    curate(run_dir, videos, "scan,shots")
    newest = plans.load_latest(run_dir).hash
    assert newest != first
    for collection, wanted in ((following, newest), (named, first)):
        assert collection.plan.hash == first
        collection.look_again()
        assert collection.plan.hash == wanted
        assert collection.catalogue().total == 3
    with pytest.raises(ConfigError, match=f"--plan {first}: .* is no run folder"):
        opened(videos, first)


def test_a_clip_that_was_packed_is_shown_from_its_tar(videos, opened, tmp_path):
    curate(tmp_path / "run", videos, STAGES)
    collection = opened(tmp_path / "run")
    rows = by_name(collection)
    assert {name: row["state"] for name, row in rows.items()} == {
        "moving.mp4": "kept",
        "still.avi": "rejected",
        "broken.mp4": "failed",
    }
    kept, rejected = (rows[name]["id"] for name in ("moving.mp4", "still.avi"))
    assert rows["still.avi"]["reason"] == "motion below 0.002"
    media = collection.media(kept)
    assert media.uri.endswith(".tar") and media.fragment == ""
    data = b"".join(collection.streams.answer(media).body)
    assert data[4:8] == b"ftyp" and len(data) == media.bytes
    assert collection.media(rejected).fragment == "#t=0.000,3.000"
    made = b"".join(collection.streams.answer(collection.playable(rejected)).body)
    assert b"avc1" in made  # an .avi, which no browser plays
    with pytest.raises(KeyError):
        collection.media("0" * 20)
    with pytest.raises(BadInput):
        collection.playable(rows["broken.mp4"]["id"])


def test_the_size_of_a_video_that_is_not_there_is_unknown(videos, opened, tmp_path):
    (tmp_path / "list.txt").write_text(f"{videos / 'broken.mp4'}\n{tmp_path / 'gone.mp4'}\n")
    words = [f"input={tmp_path / 'list.txt'}", f"run_dir={tmp_path / 'run'}", "launch=inline"]
    assert cli.main(["run", *words, "stage=[scan,shots]"]) == 0
    rows = by_name(opened(tmp_path / "run"))
    assert {Path(name).name: row["bytes"] for name, row in rows.items()} == {"broken.mp4": 8, "gone.mp4": None}


def test_videos_of_a_run_are_found_as_its_plan_says(begun, opened):
    assert opened(begun).settings.profile == "lab"


def test_a_sample_of_a_run_is_some_of_its_rows(begun, opened):
    collection = opened(begun)
    some = collection.catalogue(2, seed=3)
    assert some.rows.num_rows == 2 and some.total == 3
    assert some.rows.equals(collection.catalogue(2, seed=3).rows)
    assert some.media(some.rows["id"][0].as_py()).uri
