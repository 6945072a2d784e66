"""The s3 source and units, on a real store."""

import pytest

from hpc_curate import sources, units
from hpc_curate.errors import ConfigError
from hpc_curate.io.paths import RunPaths

# Keys that a shell, a URL, a glob or a JSON writer could read in another way.
HOSTILE = [
    "-dash.mp4",
    "a b.mp4",
    "50%25.mp4",
    "plus+.mp4",
    "star*.mp4",
    "what?.mp4",
    "[x].mp4",
    "{y}.mp4",
    "hash#.mp4",
    "it's.mp4",
    'say"so".mp4',
    "$(x).mp4",
    "&a=1;b.mp4",
    "c:d.mp4",
    "é中.mp4",
    "line\nbreak.mp4",
]


@pytest.fixture(scope="module")
def uploaded(s3, tmp_path_factory):
    """Hostile keys below raw/, and neighbours that are not meant."""
    folder = tmp_path_factory.mktemp("upload")
    uri = s3.folder()
    for number, key in enumerate(HOSTILE):
        s3.put(f"{uri}/raw/{key}", b"x" * (number + 1), folder)
    for key in ("raw/deep/UPPER.MP4", "raw/notes.txt", "rawhide/other.mp4"):
        s3.put(f"{uri}/{key}", b"deep", folder)
    s3.put(f"{uri}/raw/empty.mp4", b"", folder)
    return uri


def test_a_prefix_is_a_folder_and_every_video_below_it_is_listed(s3, uploaded):
    found = sources.entries(f"{uploaded}/raw", s3.settings).to_pylist()
    expected = {f"{uploaded}/raw/{key}": number + 1 for number, key in enumerate(HOSTILE)}
    expected[f"{uploaded}/raw/deep/UPPER.MP4"] = 4
    expected[f"{uploaded}/raw/empty.mp4"] = 0
    assert {row["uri"]: row["bytes"] for row in found} == expected
    assert all(row["version"] for row in found)
    assert all(row["name"].isprintable() for row in found)
    assert {"deep/UPPER.MP4", "star*.mp4", "line%0Abreak.mp4"} <= {row["name"] for row in found}


def test_a_prefix_with_a_wildcard_in_it_matches_itself_only(s3, uploaded):
    with pytest.raises(ConfigError, match="holds no video.*without wildcards"):
        sources.entries(f"{uploaded}/ra*", s3.settings)


def test_an_empty_folder_and_a_missing_bucket_are_told_apart(s3):
    with pytest.raises(ConfigError, match="holds no video"):
        sources.entries(s3.folder(), s3.settings)
    with pytest.raises(ConfigError, match="no such bucket"):
        sources.entries("s3://there-is-no-such-bucket", s3.settings)


def test_an_object_that_was_replaced_is_reported_as_changed(s3, tmp_path):
    folder, run = s3.folder(), RunPaths(tmp_path / "run")
    uri = s3.put(f"{folder}/a.mp4", b"one", tmp_path)
    s3.put(f"{folder}/b.mp4", b"two", tmp_path)
    units.freeze(run, sources.entries(folder, s3.settings), unit_gb=1, unit_videos=1)
    s3.put(uri, b"six", tmp_path)
    again = units.freeze(run, sources.entries(folder, s3.settings), unit_gb=1, unit_videos=1)
    assert (again.added, again.changed) == (0, (uri,))
