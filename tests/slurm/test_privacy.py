"""On a real Slurm: what a job leaves holds no secret of the environment that it was queued from, and is private."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from waiting import eventually

pytestmark = pytest.mark.timeout(300)

CANARY = "canary9e41f6b3"
SECRETS = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "HF_TOKEN"), CANARY)
WORDS = ("launch=slurm", "launch.cpu_partition=cpu", "stage=[scan,shots]", "measure=[exposure]", "cutter=stride")


@pytest.fixture
def run(cluster: dict[str, str], slurm: None, make_video: Callable[..., Path], tmp_path: Path) -> Path:
    """Of one video, to its end; the tasks see the canary, which shows that it could have got somewhere."""
    words = [f"input={make_video('videos/0.mp4').parent}", f"run_dir={tmp_path / 'run'}", *WORDS]
    told = f"launch.setup=['printenv HF_TOKEN | md5sum >{tmp_path}/told']"
    command = [sys.executable, "-m", "hpc_curate", "run", *words, told]
    subprocess.run(command, check=True, env={**cluster, **SECRETS}, umask=0o022)
    eventually(lambda: not subprocess.run(["squeue", "-h"], env=cluster, check=True, stdout=subprocess.PIPE).stdout)
    assert list(tmp_path.glob("run/shots/*/done/00000.json"))
    return tmp_path / "run"


def test_a_job_keeps_its_secrets_and_what_it_writes_is_private(run: Path, cluster: dict[str, str]) -> None:
    known = subprocess.run(["md5sum"], input=f"{CANARY}\n", capture_output=True, text=True, check=True).stdout
    assert (run.parent / "told").read_text() == known
    for path in run.rglob("*"):
        if path.is_symlink():
            continue
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        if path.is_file():
            text = str(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else path.read_bytes()
            assert CANARY.encode() not in text, path
    assert list(run.glob("logs/scan/*_log.out")) and list(run.glob("logs/scan/*_submission.sh"))
    jobs = subprocess.run(["scontrol", "--details", "show", "job"], env=cluster, capture_output=True, text=True).stdout
    assert "JobName=hpc-scan" in jobs
    assert CANARY not in jobs
