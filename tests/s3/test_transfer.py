"""Transfers on a real store."""

import dataclasses

import pytest
from waiting import eventually

from hpc_curate.errors import BadInput, EnvironmentFault
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.transfer import Fetcher
from hpc_curate.records import Video, video_id


def video(store: ObjectStore, uri: str) -> Video:
    found = store.head(uri)
    return Video(video_id(uri), uri, uri.rpartition("/")[2], found.bytes, found.etag)


@pytest.mark.parametrize(
    "key", ["a b#1.mp4", "-x.mp4", "s*r?[1].mp4", "50%25+é.mp4", "line\nbreak.mp4", "it's $(x).mp4"]
)
def test_an_object_comes_and_goes_whole_whatever_its_key(s3, tmp_path, key):
    store, uri = ObjectStore(s3.settings), f"{s3.folder()}/sub/{key}"
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(bytes(range(256)) * 4000)
    store.store(sent, uri)
    store.fetch(uri, got, 1_024_000)
    assert got.read_bytes() == sent.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["got", "sent"]


def test_a_missing_object_is_bad_input_and_leaves_nothing(s3, tmp_path):
    store, folder = ObjectStore(s3.settings), s3.folder()
    with pytest.raises(BadInput, match="no such object"):
        store.fetch(f"{folder}/gone.mp4", tmp_path / "gone.mp4", 3)
    with pytest.raises(BadInput, match="no such object"):
        store.head(f"{folder}/gone.mp4")
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_shorter_than_it_was_is_bad_input(s3, tmp_path):
    store, uri = ObjectStore(s3.settings), s3.put(f"{s3.folder()}/a.mp4", b"whole film", tmp_path)
    frozen = video(store, uri)
    s3.put(uri, b"whole", tmp_path)
    with (
        Fetcher(tmp_path, s3.settings) as fetcher,
        pytest.raises(BadInput, match="changed since it was frozen.*new unit"),
    ):
        fetcher.get(frozen)


def test_a_wrong_secret_blames_the_machine_and_no_message_holds_one(s3, tmp_path):
    uri = s3.put(f"{s3.folder()}/a.mp4", b"film", tmp_path)
    refused = ObjectStore(dataclasses.replace(s3.settings, profile="wrong"))
    for action in (
        lambda: refused.head(uri),
        lambda: refused.fetch(uri, tmp_path / "a", 4),
        lambda: refused.store(tmp_path / "to_upload", uri),
    ):
        with pytest.raises(EnvironmentFault, match="refused the credentials") as caught:
            action()
        assert "x" * 32 not in str(caught.value)


def test_the_next_video_comes_while_the_first_is_worked_on(s3, tmp_path):
    store, folder = ObjectStore(s3.settings), s3.folder()
    first, second, third = (
        video(store, s3.put(f"{folder}/{n}.MP4", n.encode() * 9, tmp_path)) for n in ("a", "b", "c")
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Fetcher(scratch, s3.settings) as fetcher:
        path = fetcher.get(first)
        fetcher.prefetch(second)
        eventually(lambda: len(list(scratch.glob("*.source.mp4"))) == 2)
        assert path.read_bytes() == b"a" * 9
        assert fetcher.get(first) == path, "asked for again, it is not fetched again"
        fetched = fetcher.get(second)
        assert fetched.read_bytes() == b"b" * 9
        assert not path.exists(), "one video at a time, and the next"
        fetcher.prefetch(first)
        assert fetcher.get(third).read_bytes() == b"c" * 9, "another one than was expected"
    assert list(scratch.iterdir()) == []


def test_a_video_that_would_fill_the_disk_is_not_fetched(s3, tmp_path):
    wanted = video(ObjectStore(s3.settings), s3.put(f"{s3.folder()}/a.mp4", b"film", tmp_path))
    greedy = dataclasses.replace(s3.settings, reserve_gb=1e9)
    with Fetcher(tmp_path, greedy) as fetcher:
        fetcher.prefetch(wanted)
        with pytest.raises(EnvironmentFault, match="GB too little for a.mp4"):
            fetcher.get(wanted)
