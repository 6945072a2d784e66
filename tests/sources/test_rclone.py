"""A real rclone over a remote that is a folder of this machine."""

import shutil
from pathlib import Path

import pytest

from hpc_curate import sources
from hpc_curate.errors import BadInput, ConfigError, Unavailable
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.records import Video

SETTINGS = SourceSettings(reserve_gb=0.0, retries=1, pause_s=0.1)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not shutil.which("rclone"):
        pytest.skip("no rclone")
    folder = tmp_path / "remote"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b c.MP4").write_bytes(b"second")
    (folder / "a.mkv").write_bytes(b"first")
    (folder / "notes.txt").write_bytes(b"no video")
    monkeypatch.setenv("RCLONE_CONFIG_SHELF_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_SHELF_REMOTE", str(folder))
    return folder


def video(row: dict) -> Video:
    return Video("0123", row["uri"], row["name"], row["bytes"], row["version"])


def test_a_remote_is_listed_with_sizes_and_its_files_come(shelf: Path, tmp_path: Path) -> None:
    rows = sources.entries("rclone://shelf/", SETTINGS).to_pylist()
    assert [(row["uri"], row["name"], row["bytes"]) for row in rows] == [
        ("rclone://shelf/a.mkv", "a.mkv", 5),
        ("rclone://shelf/deep/b c.MP4", "deep/b c.MP4", 6),
    ]
    with Fetcher(tmp_path, SETTINGS) as fetcher:
        assert fetcher.get(video(rows[1])).read_bytes() == b"second"
        assert fetcher.said(video(rows[1])) == {"fetched_with": "rclone"}


def test_one_file_is_an_input_too(shelf: Path) -> None:
    (row,) = sources.entries("rclone://shelf/deep/b c.MP4", SETTINGS).to_pylist()
    assert (row["uri"], row["name"]) == ("rclone://shelf/deep/b c.MP4", "b c.MP4")


def test_what_is_gone_or_has_changed_is_a_bad_input(shelf: Path, tmp_path: Path) -> None:
    first, second = (video(row) for row in sources.entries("rclone://shelf/", SETTINGS).to_pylist())
    (shelf / "a.mkv").unlink()
    (shelf / "deep" / "b c.MP4").write_bytes(b"another film")
    with Fetcher(tmp_path, SETTINGS) as fetcher:
        with pytest.raises(BadInput, match="there is no such file"):
            fetcher.get(first)
        with pytest.raises(BadInput, match="changed since it was frozen"):
            fetcher.get(second)


def test_a_remote_that_nobody_configured_and_a_folder_without_videos_are_told(shelf: Path) -> None:
    with pytest.raises(ConfigError, match="rclone knows no such remote"):
        sources.entries("rclone://nowhere/x", SETTINGS)
    with pytest.raises(ConfigError, match=r"input=rclone://shelf/none: there is no such folder or file on the remote"):
        sources.entries("rclone://shelf/none", SETTINGS)
    (shelf / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no video"):
        sources.entries("rclone://shelf/empty", SETTINGS)


def test_what_came_short_or_not_at_all_may_come_another_time(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = (video(row) for row in sources.entries("rclone://shelf/", SETTINGS).to_pylist())
    real, tool = shutil.which("rclone"), tmp_path / "tool"
    monkeypatch.setenv("HPC_CURATE_RCLONE", str(tool))
    for copying, complaint in (
        ('printf fir > "${!#}"', "3 of 5 bytes came"),
        ("echo 'AccessDenied: expired' >&2; exit 1", "rclone ended with code 1: AccessDenied: expired"),
    ):
        tool.write_text(f"""#!/bin/bash\n[ "$1" = copyto ] || exec {real} "$@"\n{copying}\n""")
        tool.chmod(0o755)
        with Fetcher(tmp_path, SETTINGS) as fetcher, pytest.raises(Unavailable, match=complaint):
            fetcher.get(first)
