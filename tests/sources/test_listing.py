import os

import pytest

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import local_path

SETTINGS = SourceSettings()


def listed(path, content):
    path.write_bytes(content)
    return sources.entries(str(path), SETTINGS).to_pylist()


def test_paths_are_taken_from_the_folder_of_the_list(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.mp4").write_bytes(b"film")
    found = listed(tmp_path / "list.txt", b"\xef\xbb\xbfsub/a.mp4\r\n\r\n./sub/../gone.mp4\n")
    assert [(row["uri"], row["name"], row["bytes"]) for row in found] == [
        (f"{tmp_path}/sub/a.mp4", "sub/a.mp4", 4),
        (f"{tmp_path}/gone.mp4", "gone.mp4", -1),
    ]


def test_a_comment_is_no_name_and_a_name_that_looks_like_one_can_be_written(tmp_path):
    (tmp_path / "#1.mp4").write_bytes(b"film")
    found = listed(tmp_path / "list.txt", b"# from the north camera\n./#1.mp4\n")
    assert [row["name"] for row in found] == ["#1.mp4"]


def test_names_of_files_elsewhere_are_relative_to_the_folder_that_they_share(tmp_path):
    (tmp_path / "lists").mkdir()
    for name in ("one/a.mp4", "two/b\n.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    content = f"{tmp_path}/one/a.mp4\nfile://{tmp_path}/two/b%0A.mp4\ns3://b/x/c.mp4\ns3://b/d.mp4\n"
    found = listed(tmp_path / "lists" / "all.lst", content.encode())
    assert [row["name"] for row in found] == ["one/a.mp4", "two/b%0A.mp4", "x/c.mp4", "d.mp4"]
    assert [row["bytes"] for row in found] == [1, 1, -1, -1]


def test_a_name_that_no_encoding_reads_is_a_name(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    [row] = listed(tmp_path / "list.txt", b"\xff.mp4\n")
    assert os.fsencode(local_path(row["uri"])).endswith(b"/\xff.mp4")
    assert (row["name"], row["bytes"]) == ("%FF.mp4", 1)


def test_an_empty_list_and_one_for_another_place_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="list.txt is empty"):
        listed(tmp_path / "list.txt", b"\n \n")
    with pytest.raises(
        ConfigError, match=f"none of its 2 files exists; the first is {tmp_path}/a.mp4; .* from {tmp_path}"
    ):
        listed(tmp_path / "list.txt", b"a.mp4\nb.mp4")


def test_a_scheme_that_is_not_fetched_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="ftp:// is not fetched; there is .*http, https"):
        listed(tmp_path / "list.txt", b"ftp://example.com/a.mp4\n")
