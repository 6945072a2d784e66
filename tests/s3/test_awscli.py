"""The AWS CLI as the client of a real store: it says and brings what s5cmd does, whatever a key looks like."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import sources
from hpc_curate.errors import BadInput, ConfigError, EnvironmentFault
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.records import Video

KEYS = ["-dash.mp4", "a b+50%25.mp4", "star*[x]?.mp4", "it's $(x);&#.mp4", "é中.mp4", "line\nbreak\ttab.mp4", "UP.MP4"]


@pytest.fixture
def aws(s3: Any) -> SourceSettings:
    if not shutil.which("aws"):
        pytest.skip("no AWS CLI; install awscli from your distribution")
    return dataclasses.replace(s3.settings, s3_tool="aws")


def test_a_folder_is_listed_and_fetched_as_by_s5cmd(s3: Any, aws: SourceSettings, tmp_path: Path) -> None:
    folder = s3.folder()
    for number, key in enumerate(KEYS):
        s3.put(f"{folder}/raw/{key}", b"x" * number, tmp_path)
    s3.put(f"{folder}/rawhide.mp4", b"no", tmp_path)
    rows = sources.entries(f"{folder}/raw", aws).to_pylist()
    assert rows == sources.entries(f"{folder}/raw", s3.settings).to_pylist() and len(rows) == len(KEYS)
    odd = next(row for row in rows if row["name"].startswith("line"))
    with Fetcher(tmp_path, aws) as fetcher:
        video = Video("0123", odd["uri"], odd["name"], odd["bytes"], odd["version"])
        assert fetcher.get(video).read_bytes() == b"x" * KEYS.index("line\nbreak\ttab.mp4")
        assert fetcher.said(video) == {"fetched_with": "aws"}


def test_what_is_stored_is_looked_at_again(s3: Any, aws: SourceSettings, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"film" * 1000)
    uri = f"{s3.folder()}/a b.mp4"
    ObjectStore(aws).store(tmp_path / "film", uri)
    assert s3.get(uri) == b"film" * 1000
    assert ObjectStore(aws).head(uri) == ObjectStore(s3.settings).head(uri)


def test_what_is_not_there_and_whom_nobody_knows(s3: Any, aws: SourceSettings, tmp_path: Path) -> None:
    folder = s3.folder()
    with pytest.raises(BadInput, match="there is no such object"):
        ObjectStore(aws).head(f"{folder}/gone.mp4")
    with pytest.raises(BadInput, match="there is no such object"):
        ObjectStore(aws).fetch(f"{folder}/gone.mp4", tmp_path / "gone.mp4", 3)
    with pytest.raises(ConfigError, match="no such bucket"):
        sources.entries("s3://there-is-no-such-bucket", aws)
    with pytest.raises(EnvironmentFault, match="refused the credentials") as caught:
        ObjectStore(dataclasses.replace(aws, profile="wrong")).head(f"{folder}/a.mp4")
    assert "x" * 32 not in str(caught.value)
    with pytest.raises(ConfigError, match="does not accept a setting"):
        ObjectStore(dataclasses.replace(aws, profile="nobody")).head(f"{folder}/a.mp4")


def test_a_key_that_names_a_file_of_ours_stays_a_key(aws: SourceSettings, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such object"):
        ObjectStore(aws).head("s3://tests/file:///etc/passwd")
