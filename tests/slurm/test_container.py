"""The line as Slurm jobs whose tasks run in a container: the same tars as without, and requeued as without."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import curate

pytestmark = pytest.mark.timeout(900)

CANARY = "do-not-tell"
RULES = [
    f"stage.{stage}.rules.{rule}=null" for stage in ("select", "gate") for rule in ("crop_short_side_px", "motion")
]
SETTINGS = [*RULES, "unit.videos=1", "resources.embed.gpus=1"]


@pytest.fixture(scope="module")
def videos(footage: Path, ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piece of the film with cuts, long enough to be stopped in, and a short one; a comma in the folder's name."""
    folder = tmp_path_factory.mktemp("videos") / "film, cut"
    folder.mkdir()
    for start, seconds in ((60, 40), (200, 6)):
        command = [ffmpeg, "-v", "error", "-ss", str(start), "-i", footage / "bbb.mp4", "-t", str(seconds), "-an"]
        scale = ["-vf", "scale=640:-2", "-c:v", "libx264", "-preset", "ultrafast", folder / f"film{start}.mp4"]
        subprocess.run([*command, *scale], check=True)
    return folder


def tars(run: Path) -> dict[str, bytes]:
    (folder,) = run.glob("pack/*/tars")
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert any(name.endswith(".tar") for name in found)
    return found


def ended(run: Path) -> bool:
    return json.loads(curate("status", str(run), "--json"))["state"] in ("done", "failed", "blocked")


def until(true: Callable[[], bool], run: Path) -> None:
    end = time.time() + 600
    while not true():
        assert time.time() < end, curate("logs", str(run))
        time.sleep(0.2)


def test_the_line_in_a_container_makes_the_same_tars(
    slurm: None, image: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curate("run", f"input='{videos}'", f"run_dir={tmp_path / 'bare'}", "launch=local", *SETTINGS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    run = tmp_path / "run"
    cluster = ["launch=slurm", "launch.cpu_partition=cpu", "launch.gpu_partition=gpu", "launch.grace_s=5"]
    inside = ["container=apptainer", f"container.image={image}"]
    curate("run", f"input='{videos}'", f"run_dir={run}", *cluster, *inside, *SETTINGS)

    def at_work() -> list[str]:
        queue = subprocess.run(["squeue", "-h", "-r", "-t", "R", "-o", "%i %j"], check=True, capture_output=True)
        return [line.split()[0] for line in queue.stdout.decode().splitlines() if "hpc-scan-" in line]

    # Its claim is the first thing that a task writes: from there on the scan of the long piece takes seconds.
    until(lambda: any(run.glob("scan/*/claims/00000/*")) and bool(at_work()), run)
    subprocess.run(["scancel", "--signal=USR2", *at_work()], check=True)
    until(lambda: ended(run), run)

    logs = {path.name: path.read_text(errors="replace") for path in (run / "logs").glob("*/*.out")}
    assert any("SIGUSR2" in text for text in logs.values()), logs
    assert json.loads(curate("status", str(run), "--json"))["state"] == "done", logs
    assert tars(run) == tars(tmp_path / "bare")
    written = [path.read_bytes() for path in run.rglob("*") if path.is_file() and os.access(path, os.R_OK)]
    assert CANARY.encode() not in b"".join(written)
    (script,) = (run / "logs" / "embed").glob("[0-9]*_submission.sh")
    assert "apptainer" in script.read_text() and "--nv" in script.read_text()
