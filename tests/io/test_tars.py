"""Tars: the same bytes for the same members, readable by others, and published whole or not at all."""

import errno
import hashlib
import io
import os
import tarfile

import pytest

from hpc_curate.errors import EnvironmentFault
from hpc_curate.io.tars import padded, write_tar

SAMPLES = [("clip_1", {"mp4": b"m" * 700, "json": b"{}"}), ("clip_2", {"mp4": b"", "json": b"{}" * 256})]


def test_every_sample_and_member_lies_where_the_index_says(tmp_path):
    path = tmp_path / "a.tar"
    tar = write_tar(path, SAMPLES)
    raw = path.read_bytes()
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (tar.bytes, tar.sha256)
    for sample, (key, files) in zip(tar.samples, SAMPLES, strict=True):
        assert sample.key == key
        found = {m.extension: raw[m.offset : m.offset + m.bytes] for m in sample.members}
        assert list(found.items()) == list(files.items())
        part = raw[sample.offset : sample.offset + sample.bytes]
        assert sample.sha256 == hashlib.sha256(part).hexdigest()
        with tarfile.open(fileobj=io.BytesIO(part)) as archive:
            assert archive.getnames() == [f"{key}.{extension}" for extension in files]
    assert tar.bytes == sum(padded(len(data)) for _, files in SAMPLES for data in files.values()) + 1024


def test_python_reads_plain_files_without_owner_or_age(tmp_path):
    write_tar(tmp_path / "a.tar", SAMPLES)
    with tarfile.open(tmp_path / "a.tar") as archive:
        for info in archive:
            assert info.isreg()
            assert (info.mode, info.uid, info.gid, info.uname, info.gname, info.mtime) == (0o644, 0, 0, "", "", 0)
        assert archive.extractfile("clip_1.mp4").read() == b"m" * 700


def test_the_same_samples_make_the_same_bytes(tmp_path):
    first = write_tar(tmp_path / "first.tar", SAMPLES)
    os.utime(tmp_path / "first.tar", (0, 0))
    assert write_tar(tmp_path / "second.tar", iter(SAMPLES)) == first
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_the_bytes_are_those_of_a_fixed_checksum(tmp_path):
    """A change here changes the checksum of every tar that was ever made: raise the version of pack."""
    tar = write_tar(tmp_path / "a.tar", [("clip", {"json": b"{}"})])
    assert tar.sha256 == "2448c52c8e4628c9059329e70646c6a96eb8e67844c96f7f764ebaaf691eb312"


@pytest.mark.parametrize("key", ["a.b", "../a", "a/b", "", ".a", "a\n", "é", "x" * 97])
def test_a_key_that_would_run_into_another_sample_is_refused(tmp_path, key):
    with pytest.raises(ValueError):
        write_tar(tmp_path / "a.tar", [(key, {"mp4": b""})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extension", ["", "m.p4", "MP4", "a/b", "pickle.gz"])
def test_an_extension_with_a_meaning_of_its_own_is_refused(tmp_path, extension):
    with pytest.raises(ValueError):
        write_tar(tmp_path / "a.tar", [("a", {extension: b""})])


def test_a_key_given_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        write_tar(tmp_path / "a.tar", [("a", {"mp4": b""}), ("a", {"json": b""})])
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_dies_half_way_leaves_no_tar(tmp_path):
    def samples():
        yield SAMPLES[0]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(EnvironmentFault, match="No space left"):
        write_tar(tmp_path / "a.tar", samples())
    assert list(tmp_path.iterdir()) == []


def test_a_tar_without_samples_is_an_empty_tar(tmp_path):
    assert write_tar(tmp_path / "a.tar", []).samples == ()
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames() == []
