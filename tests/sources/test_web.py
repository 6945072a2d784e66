import pytest

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings


def test_an_address_is_one_video_whose_server_is_not_asked_yet():
    (row,) = sources.entries("https://videos.example/a%20b/film.mp4?size=4k", SourceSettings()).to_pylist()
    assert row["uri"] == "https://videos.example/a%20b/film.mp4?size=4k"
    assert (row["name"], row["bytes"], row["version"]) == ("film.mp4", -1, "")


def test_a_secret_in_an_address_is_refused():
    with pytest.raises(ConfigError, match="tables and tars would tell it to everybody"):
        sources.entries("https://me:canary@videos.example/film.mp4", SourceSettings())


def test_lists_may_mix_files_and_addresses(make_video, tmp_path):
    make_video("here.mp4")
    (tmp_path / "list.txt").write_text(
        "here.mp4\nhttps://videos.example/deep/there.mp4\nhttps://videos.example/x.mp4\n"
    )
    found = sources.entries(str(tmp_path / "list.txt"), SourceSettings())
    assert found["name"].to_pylist() == ["here.mp4", "deep/there.mp4", "x.mp4"]
    with pytest.raises(ConfigError, match="videos.example/deep/there.mp4: fetch it first, hpc-curate fetch input="):
        sources.refuse_unfetched(found)
