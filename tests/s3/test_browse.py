"""What a browser gets of videos in an object store: parts, by ranged requests."""

import dataclasses
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from waiting import eventually

from hpc_curate.browse.catalogue import Collection, open_collection
from hpc_curate.errors import BadInput, EnvironmentFault
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.ranged import RangedReader
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.tars import write_tar

BYTES = bytes(range(256)) * 4000


def listed(of: str, settings: SourceSettings) -> tuple[Collection, dict[str, dict]]:
    collection = open_collection(of, settings)
    eventually(lambda: collection.progress().done)
    return collection, {row["name"]: row for row in collection.catalogue().rows.to_pylist()}


def test_objects_are_listed_and_streamed_by_ranges(s3, tmp_path):
    prefix = s3.folder()
    names = ["a.mp4", "deep/ü [x] {y}+&%20.mp4"]
    for name in names:
        s3.put(f"{prefix}/{name}", BYTES, tmp_path)
    collection, rows = listed(prefix, s3.settings)
    assert sorted(rows) == names and rows["a.mp4"]["bytes"] == len(BYTES)
    for name in names:
        media = collection.media(rows[name]["id"])
        answer = collection.streams.answer(media, "bytes=300000-300009")
        assert (answer.status, b"".join(answer.body)) == (206, BYTES[300000:300010])
        assert b"".join(collection.streams.answer(media, "bytes=-5").body) == BYTES[-5:]
        assert b"".join(collection.streams.answer(media).body) == BYTES
    assert collection.poster(rows["a.mp4"]["id"]) is None
    collection.close()


def test_the_aws_cli_signs_what_s5cmd_cannot(s3, tmp_path):
    if not shutil.which("aws"):
        pytest.skip("no AWS CLI; install awscli from your distribution")
    reader = RangedReader(ObjectStore(dataclasses.replace(s3.settings, s3_tool="aws")))
    uri = s3.put(f"{s3.folder()}/what? *é.mp4", BYTES, tmp_path)
    assert b"".join(reader.blocks(uri, 1000, 7)) == BYTES[1000:1007]


def test_what_no_browser_plays_is_brought_here_and_made_small(s3, make_video, tmp_path):
    prefix = s3.folder()
    avi = make_video("old.avi", "testsrc=s=64x48:r=10:d=1", "-c:v", "mpeg4", "-threads", "1")
    s3.put(f"{prefix}/old.avi", avi.read_bytes(), tmp_path)
    collection, rows = listed(prefix, s3.settings)
    made = collection.playable(rows["old.avi"]["id"])
    assert b"avc1" in b"".join(collection.streams.answer(made).body)
    collection.close()


def test_what_cannot_be_read_says_why_and_tells_no_address(s3, tmp_path):
    uri = s3.put(f"{s3.folder()}/a.mp4", BYTES, tmp_path)
    reader = RangedReader(ObjectStore(s3.settings))
    assert b"".join(reader.blocks(uri, 5, 3)) == BYTES[5:8]
    s3.remove(uri)
    with pytest.raises(BadInput, match="the store said 404"):
        reader.blocks(uri, 0, 10)
    with pytest.raises(BadInput, match=r"no address of a name with \* or \? in it"):
        reader.blocks(f"{s3.folder()}/what?.mp4", 0, 10)
    wrong = SourceSettings(endpoint=s3.settings.endpoint, profile="wrong", retries=1)
    with pytest.raises(EnvironmentFault, match="the store said 403") as refused:
        RangedReader(ObjectStore(wrong)).blocks(uri, 0, 10)
    assert "X-Amz" not in str(refused.value) and refused.value.__cause__ is None


def test_finished_tars_are_shown_where_their_index_says_they_lie(s3, tmp_path):
    prefix = s3.folder()
    tar = write_tar(tmp_path / "0.tar", [(key, {"mp4": key.encode() * 1000, "json": b"{}"}) for key in ("aa", "bb")])
    rows = [
        {"sample": one.key, "tar": "x-0.tar", "mp4_offset": one.members[0].offset, "mp4_bytes": one.members[0].bytes}
        for one in tar.samples
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "index.parquet")
    s3.put(f"{prefix}/x-0.tar", (tmp_path / "0.tar").read_bytes(), tmp_path)
    s3.put(f"{prefix}/index.parquet", (tmp_path / "index.parquet").read_bytes(), tmp_path)
    collection, found = listed(f"{prefix}/", s3.settings)
    assert collection.kind == "tars" and [row["id"] for row in found.values()] == ["aa", "bb"]
    assert b"".join(collection.streams.answer(collection.media("bb"), "bytes=0-5").body) == b"bbbbbb"
    with pytest.raises(KeyError):
        collection.media("x-0.tar")
    collection.close()
