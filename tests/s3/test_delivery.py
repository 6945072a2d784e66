"""A data set in a real object store."""

import dataclasses

import pytest

from hpc_curate.errors import ConfigError, EnvironmentFault
from hpc_curate.io import delivery


@pytest.fixture
def prefix(s3, tmp_path):
    """A delivery to an empty prefix."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return delivery.deliver_to(f"{s3.folder()}/sig/", tmp_path / "receipts", scratch, s3.settings)


def put(there, name, content):
    there.put(name, lambda path: path.write_bytes(content))


def test_what_is_put_is_listed_back_and_leaves_nothing_on_scratch(s3, prefix, tmp_path):
    put(prefix, "a.tar", b"abc")
    put(prefix, "urls.txt", b"x")
    s3.put(f"{prefix.url}stray.tar", b"", tmp_path)
    assert prefix.sizes() == {"a.tar": 3, "stray.tar": 0}
    assert prefix.sha256("a.tar") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert list(prefix.scratch.iterdir()) == []
    assert all(path.is_file() for path in prefix.proofs(["a.tar", "urls.txt"]))


def test_a_writer_that_fails_uploads_nothing_and_leaves_no_proof(prefix):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError("boom")

    with pytest.raises(OSError, match="boom"):
        prefix.put("a.tar", fail)
    assert prefix.sizes() == {}
    assert list(prefix.scratch.iterdir()) == []
    assert not prefix.proofs(["a.tar"])[0].exists()


def test_a_receipt_that_the_store_contradicts_is_dropped(s3, prefix, tmp_path):
    names = ["whole.tar", "gone.tar", "short.tar"]
    for name in names:
        put(prefix, name, b"abc")
    s3.remove(f"{prefix.url}gone.tar")
    s3.put(f"{prefix.url}short.tar", b"ab", tmp_path)
    delivery.recheck(prefix.url, prefix.receipts, s3.settings)
    assert [path.exists() for path in prefix.proofs(names)] == [True, False, False]


def test_a_place_that_cannot_be_reached_is_found_before_anything_is_there(s3, tmp_path):
    wrong = dataclasses.replace(s3.settings, profile="wrong")
    with pytest.raises(EnvironmentFault, match="refused the credentials"):
        delivery.recheck(f"{s3.folder()}/sig/", tmp_path / "none", wrong)
    with pytest.raises(ConfigError, match="no such bucket"):
        delivery.recheck("s3://there-is-no-such-bucket/sig/", tmp_path / "none", s3.settings)
