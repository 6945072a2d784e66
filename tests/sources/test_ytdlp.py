"""The real yt-dlp against a web server on loopback."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from webserver import serving

from hpc_curate import sources
from hpc_curate.errors import BadInput, ConfigError, Unavailable
from hpc_curate.io import video as videos
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.io.web import WebSettings
from hpc_curate.records import Video

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("yt_dlp"), reason="no yt-dlp; pip install yt-dlp")


def settings(**web: object) -> SourceSettings:
    return SourceSettings(reserve_gb=0.0, web=WebSettings(pause_per_host_s=0.0, tries=1, silence_s=60.0, **web))


def test_a_video_comes_with_what_the_site_says_of_it(make_video: Callable[..., Path], tmp_path: Path) -> None:
    make_video("site/A film; rm -rf.mp4", "testsrc=s=64x48:r=10:d=2")
    with serving(tmp_path / "site") as url, Fetcher(tmp_path, settings()) as fetcher:
        uri = f"ytdlp+{url}/A%20film;%20rm%20-rf.mp4"
        (row,) = sources.entries(uri, settings()).to_pylist()
        assert (row["uri"], row["bytes"]) == (uri, -1) and row["name"].endswith(".mkv")
        video = Video("0123", row["uri"], row["name"], row["bytes"], row["version"])
        assert fetcher.tells_licence(video)
        path = fetcher.get(video)
        assert videos.probe(path).width == 64
        said = fetcher.said(video)
        assert said["fetched_with"] == "yt-dlp" and said["extractor"] == "generic" and said["title"]
        assert sorted(child.name for child in tmp_path.iterdir()) == sorted(["site", path.name])


def test_what_is_not_there_is_told(make_video: Callable[..., Path], tmp_path: Path) -> None:
    make_video("site/one.mp4")
    with serving(tmp_path / "site") as url, Fetcher(tmp_path, settings()) as fetcher:
        with pytest.raises(ConfigError, match="yt-dlp finds no video there: .*404"):
            sources.entries(f"ytdlp+{url}/none.mp4", settings())
        with pytest.raises(BadInput, match="404"):
            fetcher.get(Video("0123", f"ytdlp+{url}/none.mp4", "none.mkv", -1, ""))
        (tmp_path / "site" / "one.mp4.busy").touch()
        with pytest.raises(Unavailable, match="503"):  # which may pass
            fetcher.get(Video("4567", f"ytdlp+{url}/one.mp4", "one.mkv", -1, ""))


def test_what_is_too_large_is_left_there(make_video: Callable[..., Path], tmp_path: Path) -> None:
    make_video("site/one.mp4")
    small = settings(largest_gb=1e-6)
    with (
        serving(tmp_path / "site") as url,
        Fetcher(tmp_path, small) as fetcher,
        pytest.raises(BadInput, match=r"larger than source\.web\.largest_gb"),
    ):
        fetcher.get(Video("0123", f"ytdlp+{url}/one.mp4", "one.mkv", -1, ""))
