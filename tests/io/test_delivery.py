"""Where a data set goes; what goes to a real object store is in tests/s3/test_delivery.py and test_line.py."""

from pathlib import Path

import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.io import delivery
from hpc_curate.io.delivery import Folder
from hpc_curate.io.paths import RunPaths
from hpc_curate.io.s5cmd import SourceSettings


def test_a_folder_is_made_absolute_and_a_prefix_loses_its_last_slash():
    assert delivery.resolve(None) is None
    assert delivery.resolve("sets/mine") == str(Path.cwd() / "sets" / "mine")
    assert delivery.resolve("s3://bucket") == delivery.resolve("s3://bucket/") == "s3://bucket"
    assert delivery.resolve("s3://bucket.eu-1/a/v=1/x_y.z/") == "s3://bucket.eu-1/a/v=1/x_y.z"


@pytest.mark.parametrize(
    "output",
    ["s3://", "s3:///a", "s3://b c", "s3://bucket/a*", "s3://bucket/{a}", "s3://bucket/../a", "s3://bucket//a"],
)
def test_a_prefix_that_a_glob_a_shell_or_a_brace_expansion_changes_is_refused(output):
    with pytest.raises(ConfigError, match="output must be s3://bucket/prefix"):
        delivery.resolve(output)


def test_a_secret_in_the_place_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="credentials belong in source.profile") as caught:
        delivery.resolve("s3://dev:hunter2@bucket/a")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("output", [5, "", ["a"], True])
def test_what_is_no_place_is_refused(output):
    with pytest.raises(ConfigError, match="is no place"):
        delivery.resolve(output)


def test_each_pack_has_a_folder_of_its_own(tmp_path):
    paths = RunPaths(tmp_path / "run")
    assert delivery.place(None, paths, "aa") == str(tmp_path / "run" / "pack" / "aa" / "tars")
    assert delivery.place("/sets", paths, "aa") == "/sets/aa"
    assert delivery.place("s3://bucket/sets", paths, "aa") == "s3://bucket/sets/aa/"


def test_files_in_a_folder_are_their_own_proof(tmp_path):
    there = delivery.deliver_to(str(tmp_path), tmp_path / "receipts", tmp_path, SourceSettings())
    assert isinstance(there, Folder)
    for name, content in (("a.tar", b"abc"), ("b.txt", b"x")):
        assert there.put(name, lambda path, content=content: path.write_bytes(content)) == len(content)
    assert there.sizes() == {"a.tar": 3}
    assert there.sha256("a.tar") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert there.proofs(["a.tar", "b.txt"]) == [tmp_path / "a.tar", tmp_path / "b.txt"]
    (tmp_path / ".a.tar.host-1.tmp").write_bytes(b"half")
    there.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.txt"]


def test_a_record_names_what_lies_outside_the_run_folder_by_its_whole_path(tmp_path):
    paths = RunPaths(tmp_path / "run")
    for path, named in ((tmp_path / "run" / "a" / "b", "a/b"), (tmp_path / "out" / "b", str(tmp_path / "out" / "b"))):
        assert paths.named(path) == named
        assert paths.root / paths.named(path) == path
