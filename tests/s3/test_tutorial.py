"""The ten minutes of the README, as they stand there, on real footage in a real store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## From a bucket to tars, in ten minutes"
GYMNASTS = tuple(f"gymnast-{name}.mp4" for name in ("1-1", "1-2", "2-1", "2-2"))
VIDEOS = (*GYMNASTS, "bikes.mp4", "city.mpg", "face.mp4", "demo.mp4", "demo.webm", "demo.mkv", "demo.gif")


def lines() -> str:
    """The commands below the heading."""
    section = (ROOT / "README.md").read_text().partition(HEADING)[2]
    return re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def bucket(s3: Any, footage: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Where videos lie below `raw`; the environment says which store it is, and who asks."""
    monkeypatch.setenv("S3_ENDPOINT_URL", s3.settings.endpoint)
    monkeypatch.setenv("AWS_PROFILE", s3.settings.profile)
    folder = s3.folder()
    for name in VIDEOS:
        s3.put(f"{folder}/raw/{name}", (footage / name).read_bytes(), tmp_path)
    return folder


def test_every_command_works_and_the_tars_are_in_the_bucket(s3: Any, bucket: str, tmp_path: Path) -> None:
    script = lines()
    assert script.count("\n") > 10 and "s3://my-bucket/raw" in script
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "hpc-curate").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hpc_curate "$@"\n')
    (programs / "hpc-curate").chmod(0o755)
    (programs / "s5cmd").symlink_to(s3.s5cmd)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-euxo", "pipefail", "-c", script.replace("s3://my-bucket", bucket)]
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert all((work / name).stat().st_size > 1000 for name in ("look.mp4", "rejected.png", "both.html"))
    table = pq.read_table(work / "clips.parquet", columns=["state", "tar"])
    kept = table.filter(table["state"].cast("string").to_numpy(zero_copy_only=False) == "kept")
    assert 0 < kept.num_rows < table.num_rows
    names = {name for folder in s3.names(f"{bucket}/sets/") for name in s3.names(f"{bucket}/sets/{folder}")}
    assert set(kept["tar"].to_pylist()) <= names
    assert done.stdout.rpartition("+ s5cmd ls")[2].count(".tar") >= len(set(kept["tar"].to_pylist()))
