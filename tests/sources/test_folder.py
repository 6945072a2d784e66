import os

import pytest

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import local_path

SETTINGS = SourceSettings()


def rows(path):
    return {row["name"]: row for row in sources.entries(str(path), SETTINGS).to_pylist()}


def test_videos_of_any_depth_and_case_are_found_and_nothing_else(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for name in ("a.mp4", "b/B.MKV", "b/deep/c.WebM", "notes.txt", "mp4", "b/picture.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    found = rows(tmp_path)
    assert list(found) == ["a.mp4", "b/B.MKV", "b/deep/c.WebM"]
    assert found["b/B.MKV"]["uri"] == f"{tmp_path}/b/B.MKV"
    assert found["b/B.MKV"]["bytes"] == 7
    assert found["b/B.MKV"]["version"] == str((tmp_path / "b/B.MKV").stat().st_mtime_ns)


@pytest.mark.parametrize("name", [b"-x.mp4", b"a\nb.mp4", b"100%41.mp4", b'it\'s "x".mp4', b"\xff\xfe.mp4", b"a:b.mp4"])
def test_a_hostile_name_leads_back_to_its_file_and_can_be_printed(tmp_path, name):
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    [row] = rows(tmp_path).values()
    assert os.fsencode(local_path(row["uri"])) == os.fsencode(tmp_path) + b"/" + name
    assert row["uri"].isprintable()
    assert row["name"].isprintable()
    assert row["bytes"] == 1


def test_what_is_no_regular_file_is_still_an_entry(tmp_path):
    root = tmp_path / "input"
    root.mkdir()
    os.mkfifo(root / "pipe.mp4")
    (root / "dangling.mp4").symlink_to("nowhere")
    (root / "loop.mp4").symlink_to("loop.mp4")
    (root / "away").symlink_to(tmp_path)
    assert {name: row["bytes"] for name, row in rows(root).items()} == dict.fromkeys(
        ["away", "dangling.mp4", "loop.mp4", "pipe.mp4"], -1
    )


def test_a_linked_folder_inside_the_input_is_not_listed_twice(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.mp4").write_bytes(b"x")
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "round").symlink_to(".")
    assert list(rows(tmp_path)) == ["real/a.mp4"]


def test_one_video_is_an_input_too(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert list(rows(tmp_path / "a.mp4")) == ["a.mp4"]


def test_the_way_a_folder_is_written_does_not_change_its_uris(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "in")
    assert rows(".") == rows("../in/") == rows(tmp_path / "in") == rows(f"file://{tmp_path}/in")


def test_a_folder_without_videos_says_what_it_looked_for(tmp_path):
    (tmp_path / "a.txt.bak").write_bytes(b"x")
    with pytest.raises(ConfigError, match="holds no video; source.extensions are .*mp4"):
        sources.entries(str(tmp_path), SETTINGS)


def test_an_extension_that_could_never_match_is_refused():
    with pytest.raises(ValueError, match=r"without a dot, not \.mp4, MKV"):
        SourceSettings(extensions=(".mp4", "MKV", "avi"))


def test_a_wrong_path_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(ConfigError, match=f"no such file or folder; did you mean {tmp_path}/videos?"):
        sources.entries(f"{tmp_path}/vidoes", SETTINGS)
    with pytest.raises(ConfigError, match=f"{tmp_path} holds no 'q'"):
        sources.entries(f"{tmp_path}/q/deeper", SETTINGS)


def test_what_is_no_source_is_told_what_is_one(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(ConfigError, match="is none of these: .*A folder of videos.*text list.*s3://.*column uri"):
        sources.entries(str(tmp_path / "a.xlsx"), SETTINGS)
    with pytest.raises(ConfigError, match="is not fetched; there is .*http, https"):
        sources.entries("ftp://example.com/a.mp4", SETTINGS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; run the tests as another user")
def test_a_folder_that_may_not_be_read_is_not_left_out(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(ConfigError, match="closed: cannot be read: Permission denied"):
        sources.entries(str(tmp_path), SETTINGS)
