import io
import json
import os

import pytest
from PIL import Image
from waiting import eventually

from hpc_curate.browse.catalogue import open_collection
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io.tars import write_tar
from hpc_curate.records import ID_PATTERN


@pytest.fixture
def opened():
    """Opens a collection, and waits for its listing."""
    collections = []

    def open_it(of, wait=True):
        collection = open_collection(str(of))
        collections.append(collection)
        if wait:
            eventually(lambda: collection.progress().done)
        return collection

    yield open_it
    for collection in collections:
        collection.close()


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def sent(collection, id):
    return b"".join(collection.streams.answer(collection.media(id)).body)


def test_a_folder_is_all_its_videos_at_any_depth_by_ids_that_say_no_path(opened, tmp_path):
    names = ["a.mp4", "deep/er/b [1].MKV", "deep/c.avi", "<script>.mov"]
    files(tmp_path, *names, "notes.txt")
    collection = opened(tmp_path)
    catalogue = collection.catalogue()
    rows = {row["name"]: row for row in catalogue.rows.to_pylist()}
    assert set(rows) == set(names) and catalogue.total == 4 and collection.kind == "videos"
    assert catalogue.rows.column_names[:2] == ["id", "name"]
    assert all(ID_PATTERN.match(row["id"]) for row in rows.values())
    assert (rows["deep/er/b [1].MKV"]["folder"], rows["deep/er/b [1].MKV"]["container"]) == ("deep/er", "mkv")
    for name in names:
        assert rows[name]["bytes"] == len(name) and sent(collection, rows[name]["id"]) == name.encode()
    for id in ("a.mp4", "../a.mp4", str(tmp_path / "a.mp4")):
        with pytest.raises(KeyError):
            collection.media(id)


def test_a_sample_is_the_same_for_the_same_seed(opened, tmp_path):
    files(tmp_path, *(f"{number}.mp4" for number in range(50)))
    collection = opened(tmp_path)
    first, again, other = (collection.catalogue(12, seed).rows["name"].to_pylist() for seed in (1, 1, 2))
    assert len(set(first)) == 12 and first == again != other
    assert collection.catalogue(12, 1).total == 50


def test_a_hundred_thousand_files_block_nobody(opened, tmp_path):
    for folder in (tmp_path / str(number) for number in range(100)):
        folder.mkdir()
        (folder / "0.mp4").touch()
        for number in range(1, 1000):
            os.link(folder / "0.mp4", folder / f"{number}.mp4")  # faster than to make one

    def seen_before_all_is_listed():
        collection = opened(tmp_path, wait=False)
        eventually(lambda: collection.progress().found)
        early = collection.catalogue()
        return None if collection.progress().done else (collection, early)

    # Who is held up for as long as it takes sees the end alone, and looks again.
    collection, early = eventually(seen_before_all_is_listed)
    assert early.rows.num_rows >= 1000 and collection.media(early.rows["id"][0].as_py()).name.endswith(".mp4")
    eventually(lambda: collection.progress().done)
    assert collection.catalogue(36).total == 100_000


def test_a_link_that_leads_out_is_listed_and_not_shown(opened, tmp_path):
    files(tmp_path, "secret.mp4", "videos/a.mp4")
    (tmp_path / "videos" / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    collection = opened(tmp_path / "videos")
    ids = {row["name"]: row["id"] for row in collection.catalogue().rows.to_pylist()}
    with pytest.raises(BadInput, match="leaves the input"):
        sent(collection, ids["out.mp4"])
    with pytest.raises(BadInput, match="leaves the input"):
        collection.playable(ids["out.mp4"])
    assert collection.poster(ids["out.mp4"]) is None


def test_nothing_to_look_at_is_said(opened, tmp_path):
    with pytest.raises(ConfigError, match="no such file or folder"):
        open_collection(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    collection = opened(tmp_path / "empty")
    assert "holds no video" in collection.progress().error
    with pytest.raises(ConfigError, match="holds no video"):
        collection.catalogue()


def test_what_no_browser_plays_is_made_to_be_played(opened, make_video, tmp_path):
    make_video("videos/old.avi", "testsrc=s=320x241:r=10:d=3", "-c:v", "mpeg4", "-threads", "1")
    (tmp_path / "videos" / "broken.avi").write_bytes(b"no video")
    collection = opened(tmp_path / "videos")
    ids = {row["name"]: row["id"] for row in collection.catalogue().rows.to_pylist()}
    assert collection.media(ids["old.avi"]).content_type == "video/x-other"
    made = collection.playable(ids["old.avi"])
    data = b"".join(collection.streams.answer(made).body)
    assert made.content_type == "video/mp4" and b"avc1" in data and data.index(b"moov") < data.index(b"mdat")
    assert collection.playable(ids["old.avi"]) is made
    with Image.open(io.BytesIO(collection.poster(ids["old.avi"]))) as poster:
        assert poster.format == "JPEG" and poster.width == 480
    with pytest.raises(BadInput, match=r"broken\.avi"):
        collection.playable(ids["broken.avi"])
    assert collection.poster(ids["broken.avi"]) is None
    collection.close()
    assert not (tmp_path / made.uri).exists()


def test_a_folder_of_tars_is_its_samples_with_what_their_json_says(opened, make_video, tmp_path):
    mp4 = make_video().read_bytes()
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(2):
        samples = [
            (
                f"clip{number}_{at}",
                {"mp4": mp4, "json": json.dumps({"motion": at / 2, "name": "x"}).encode(), "txt": b"<b>a cat</b>"},
            )
            for at in range(2)
        ]
        write_tar(folder / f"{number}.tar", samples)
    collection = opened(folder)
    rows = collection.catalogue().rows.to_pylist()
    assert collection.kind == "tars" and [row["id"] for row in rows] == ["clip0_0", "clip0_1", "clip1_0", "clip1_1"]
    assert [row["motion"] for row in rows] == [0, 0.5, 0, 0.5] and rows[0]["caption"] == "<b>a cat</b>"
    assert rows[3]["folder"] == "1.tar" and rows[3]["said_name"] == "x"
    assert sent(collection, "clip1_1") == mp4
    with Image.open(io.BytesIO(collection.poster("clip1_0"))) as poster:
        assert poster.size == (480, 270)
    assert opened(folder / "0.tar").catalogue().total == 2


def test_every_container_has_a_picture_and_plays(opened, footage):
    collection = opened(footage)
    rows = [row for row in collection.catalogue().rows.to_pylist() if row["name"].startswith("demo.")]
    assert len(rows) == 21
    assert [row["name"] for row in rows if not collection.poster(row["id"])] == []
    known = {row["name"] for row in rows if collection.media(row["id"]).content_type != "video/x-other"}
    assert known == {"demo.mp4", "demo.m4v", "demo.mov", "demo.webm"}
    for row in rows:
        if row["name"] in ("demo.gif", "demo.ogv", "demo.rm", "demo.swf"):
            assert collection.streams.size(collection.playable(row["id"])) > 10_000
