"""fetch from a real store, by each tool that can: what comes, what is gone, and credentials that have expired."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, plan
from hpc_curate.sources import fetched


@pytest.fixture
def remote(s3: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an rclone remote for the store, which takes its credentials from the profile in the environment."""
    if not shutil.which("rclone"):
        pytest.skip("no rclone")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)  # which rclone's own client cannot take
    for name, value in {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENV_AUTH": "true",
        "ENDPOINT": s3.settings.endpoint,
    }.items():
        monkeypatch.setenv(f"RCLONE_CONFIG_STORE_{name}", value)
    return "rclone://store"


@pytest.mark.parametrize("tool", ["s5cmd", "aws", "rclone"])
def test_expired_credentials_are_recorded_and_retried_and_what_is_gone_is_a_result(
    tool: str, s3: Any, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "aws" and not shutil.which("aws"):
        pytest.skip("no AWS CLI")
    folder, raw = s3.folder(), tmp_path / "raw"
    for name in ("a", "b"):
        s3.put(f"{folder}/{name}.mp4", name.encode() * 1000, tmp_path)
    place = f"{remote}/{folder.removeprefix('s3://')}" if tool == "rclone" else folder
    words = [f"input={place}", f"run_dir={raw}", f"source.endpoint={s3.settings.endpoint}", "++source.retries=1"]
    words += [] if tool == "rclone" else [f"source.s3_tool={tool}"]
    monkeypatch.setenv("AWS_PROFILE", "good")
    assert cli.main(["fetch", *words, "launch=none"]) == 0  # it is listed while the credentials hold
    s3.remove(f"{folder}/b.mp4")
    monkeypatch.setenv("AWS_PROFILE", "wrong")
    made = plan.load_latest(raw)
    assert cli.main(["work", str(raw), "fetch", "--unit", "0"]) == 0
    found = fetched.rows(made)[0].to_pylist()
    assert [row["again"] for row in found] == [True, True] and all("x" * 32 not in row["error"] for row in found)
    monkeypatch.setenv("AWS_PROFILE", "good")
    assert cli.main(["retry", str(raw)]) == 0
    assert cli.main(["work", str(raw), "fetch", "--unit", "0"]) == 0
    came, gone = sorted(fetched.rows(made)[0].to_pylist(), key=lambda row: row["name"])
    assert (raw / came["path"]).read_bytes() == b"a" * 1000 and came["fetched_with"] == tool
    assert "there is no such" in gone["error"] and gone["again"] is None
