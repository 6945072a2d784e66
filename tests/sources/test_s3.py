"""The s3 source with a program that stands in for s5cmd and prints a listing; the real store is in tests/s3/."""

import json

import pytest

from hpc_curate import sources
from hpc_curate.errors import ConfigError, EnvironmentFault
from hpc_curate.io.s5cmd import SourceSettings

SETTINGS = SourceSettings(pause_s=0.0)


@pytest.fixture
def listing(tmp_path, monkeypatch):
    """Takes the lines of the listing, and the exit code that follows them."""

    def install(*lines, code=0):
        text = "\n".join(json.dumps(line) for line in lines)
        (tmp_path / "lines").write_text(text + "\n" if text else "")
        (tmp_path / "s5cmd").write_text(f"#!/bin/sh\ncat {tmp_path}/lines\nexit {code}\n")
        (tmp_path / "s5cmd").chmod(0o755)
        monkeypatch.setenv("HPC_CURATE_S5CMD", str(tmp_path / "s5cmd"))

    return install


def item(key, **more):
    return {"type": "file", "key": f"s3://b/{key}", "size": 5, "etag": "e", **more}


def test_videos_are_listed_in_the_order_of_their_keys(listing):
    listing(item("p/z.MP4"), item("p/a.mp4"), item("p/a.txt"), item("p/d.mp4/", type="directory"), item("p.mp4"))
    found = sources.entries("s3://b/p", SETTINGS).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("s3://b/p/a.mp4", "a.mp4", 5, "e", "{}"),
        ("s3://b/p/z.MP4", "z.MP4", 5, "e", "{}"),
    ]


def test_half_a_listing_is_no_listing(listing):
    listing(item("a.mp4"), code=1)
    with pytest.raises(EnvironmentFault, match="did not answer as it should"):
        sources.entries("s3://b", SETTINGS)


@pytest.mark.parametrize("source", ["s3://", "s3:///"])
def test_a_bucket_must_be_named(source):
    with pytest.raises(ConfigError, match="names no bucket"):
        sources.entries(source, SETTINGS)
