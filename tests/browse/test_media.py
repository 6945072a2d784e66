import os
from pathlib import Path

import pytest

from hpc_curate.browse.media import Media, Streams, content_type
from hpc_curate.errors import BadInput
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.tars import write_tar

BYTES = bytes(range(256)) * 4000  # about 1 MB: several blocks


@pytest.fixture
def streams():
    return Streams(SourceSettings())


@pytest.fixture
def media(tmp_path):
    (tmp_path / "a.mp4").write_bytes(BYTES)
    return Media(str(tmp_path / "a.mp4"), "a.mp4", "video/mp4")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, (1 << 18) - 1),  # of what is asked for without an end the first part
        ("bytes=1000000-", 1000000, len(BYTES) - 1),
        ("bytes=7-9", 7, 9),
        ("bytes=300000-900000", 300000, 900000),
        ("bytes=1000-99999999", 1000, len(BYTES) - 1),
        ("bytes=-10", len(BYTES) - 10, len(BYTES) - 1),
        ("bytes=-99999999", 0, len(BYTES) - 1),
    ],
)
def test_a_range_gets_its_bytes_and_no_others(streams, media, asked, first, last):
    answer = streams.answer(media, asked)
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(BYTES)}"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert b"".join(answer.body) == BYTES[first : last + 1]


@pytest.mark.parametrize("asked", [None, "", "bytes=-", "bytes=9-7", "bytes=a-b", "items=0-1", "bytes=0-1,5-6"])
def test_what_is_no_single_range_gets_the_whole(streams, media, asked):
    answer = streams.answer(media, asked)
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(BYTES)))
    assert answer.headers["accept-ranges"] == "bytes" and "content-range" not in answer.headers
    assert b"".join(answer.body) == BYTES


@pytest.mark.parametrize("asked", [f"bytes={len(BYTES)}-", "bytes=-0", "bytes=99999999-99999999999"])
def test_a_range_behind_the_end_cannot_be_had(streams, media, asked):
    answer = streams.answer(media, asked)
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(BYTES)}")
    assert b"".join(answer.body) == b""


def test_the_head_says_the_size_and_sends_nothing(streams, media):
    answer = streams.answer(media, "bytes=0-9", head=True)
    assert (answer.status, answer.headers["content-length"], list(answer.body)) == (200, str(len(BYTES)), [])


def test_it_is_sent_in_blocks_and_closed_behind_the_last(streams, media):
    def open_files():
        return [handle for handle in Path("/proc/self/fd").iterdir() if "a.mp4" in os.path.realpath(handle)]

    answer = streams.answer(media)
    assert max(len(block) for block in answer.body) <= 1 << 18
    assert open_files() == []


def test_a_video_inside_a_tar_is_a_part_of_it(streams, tmp_path):
    tar = write_tar(tmp_path / "0.tar", [(key, {"mp4": data}) for key, data in (("b", b"other"), ("a", BYTES))])
    offset = tar.samples[1].members[0].offset
    media = Media(str(tmp_path / "0.tar"), "0.tar", "video/mp4", offset, len(BYTES))
    assert b"".join(streams.answer(media).body) == BYTES
    assert b"".join(streams.answer(media, "bytes=-3").body) == BYTES[-3:]
    cut_off = Media(media.uri, media.name, "video/mp4", offset, 10 * len(BYTES))
    with pytest.raises(BadInput, match="cut off"):
        streams.answer(cut_off)


def test_links_out_of_the_folder_pipes_and_what_is_gone_are_not_opened(streams, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    (folder / "real.mp4").write_bytes(b"video")
    (folder / "sub" / "inside.mp4").symlink_to("../real.mp4")
    (folder / "out.mp4").symlink_to("../secret")
    os.mkfifo(folder / "pipe.mp4")

    def sent(name, streams=streams):
        return b"".join(streams.answer(Media(str(folder / name), name, "video/mp4")).body)

    assert sent("sub/inside.mp4") == b"video"
    for name, said in (("out.mp4", "leaves the input"), ("pipe.mp4", "not a regular file"), ("no.mp4", "cannot be")):
        with pytest.raises(BadInput, match=said):
            sent(name)
    assert sent("out.mp4", Streams(SourceSettings(follow_links=True))) == b"secret"


def test_browsers_are_told_a_type_only_where_they_play_it():
    assert [content_type(name) for name in ("a.MP4", "b.mov", "c.webm", "d.avi", "e.html")] == [
        *("video/mp4", "video/mp4", "video/webm", "video/x-other", "video/x-other")
    ]


def test_the_seconds_of_a_clip_are_a_media_fragment():
    media = Media("a.mp4", "a.mp4", "video/mp4", start_s=3.5, end_s=7.25)
    assert media.fragment == "#t=3.500,7.250"
    assert Media("a.mp4", "a.mp4", "video/mp4").fragment == ""
