"""Room, quotas and permissions of folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpc_curate.planning.checks import OK, RED, WARNING, storage
from hpc_curate.planning.checks.storage import Quota

LUSTRE = """\
  /lustre/scratch
            838860800*  786432000 838860800       -  499999  500000  500000       -
uid 1000 is using default block quota setting
"""
NFS = """\
Disk quotas for user me (uid 1000):
     Filesystem   space   quota   limit   grace   files   quota   limit   grace
server:/home 10485760  20971520 20971520       0   12000       0       0       0
"""


def test_a_quota_of_lustre_has_its_place_in_a_line_of_its_own() -> None:
    (quota,) = storage.read_quotas(LUSTRE)
    assert quota == Quota("/lustre/scratch", 838860800 * 1024 / 1e9, 838860800 * 1024 / 1e9, 499_999, 500_000)


def test_a_quota_without_a_limit_on_files() -> None:
    (quota,) = storage.read_quotas(NFS)
    assert (quota.place, round(quota.used_gb, 2), quota.files, quota.limit_files) == ("server:/home", 10.74, 12_000, 0)


@pytest.mark.parametrize("text", ["", "none", "Cannot determine your quota\n", "/x 1 2 3\n", "\0 | 1 2 3 4 5 6 7 8 a"])
def test_other_words_are_no_quota(text: str) -> None:
    assert storage.read_quotas(text) == []


def test_a_quota_that_is_used_up_is_red_and_one_that_nearly_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "quota"
    monkeypatch.setenv("PATH", str(tmp_path))
    for used, verdict in ((100, OK), (950, WARNING), (1000, RED)):
        program.write_text(f"#!/bin/sh\necho 'server:/home {used} 0 1000 0 5 0 0 0'\nexit 1\n")
        program.chmod(0o755)
        (found,) = [one for one in storage.check({"run_dir": tmp_path}) if one.what == "quota for run_dir"]
        assert found.verdict == verdict


def test_a_folder_that_is_still_to_be_made_is_tried_where_it_will_be(tmp_path: Path) -> None:
    assert storage.cannot_write(tmp_path / "runs" / "first") == ""
    assert list(tmp_path.iterdir()) == []


def test_below_a_file_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert storage.cannot_write(tmp_path / "file" / "run").startswith("Not a directory: ")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert storage.cannot_write(tmp_path) == "Permission denied"
    tmp_path.chmod(0o700)


def test_a_run_folder_that_anybody_may_write_to_is_red(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for mode, verdict in ((0o700, OK), (0o775, OK), (0o777, RED), (0o1777, OK)):
        folder.chmod(mode)
        (found,) = [one for one in storage.check({"run_dir": folder}) if one.what.startswith("permissions")]
        assert found.verdict == verdict
