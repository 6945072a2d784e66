"""A real Slurm takes elements away in every way it has: the same tars, nothing twice, and status knows the cause.

What happens to an element happens while its ffmpeg waits, which it does for as long as a file is there, whatever
signals come.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import curate
from waiting import eventually

from hpc_curate import plan
from hpc_curate.run_folder.ledger import Attempt, Ledger

pytestmark = pytest.mark.timeout(900)

STAGES = ("scan", "shots", "gate", "embed", "dedup", "select", "cut", "shard", "pack")
UNITS = 2  # of two videos each
TOO_LATE = "launch.grace_s=600"  # who is killed 3 s after the signal has not dropped its item by then, at any load
PICTURES = ("testsrc2=s=160x120", "mandelbrot=s=160x120", "life=s=160x120:seed=1", "cellauto=s=160x120:seed=2")
SMALL = (
    f"stage=[{','.join(STAGES)}]",
    "gate=none",
    "select=none",
    "cutter=stride",
    "cutter.stride.stride_s=2",
    "stage.shots.min_duration_s=1",
    "stage.select.duplicates=false",
    "unit.videos=2",
    "stage.shard.groups=1",
)


@pytest.fixture(scope="module")
def undisturbed(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, done; its videos lie beside it."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "videos").mkdir()
    for number, picture in enumerate(PICTURES):
        command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", f"{picture}:r=10", "-t", "4", "-c:v", "libx264"]
        options = ["-pix_fmt", "yuv420p", "-g", "10"]
        subprocess.run([*command, *options, folder / "videos" / f"{number}.mp4"], check=True)
    curate("run", f"input={folder / 'videos'}", f"run_dir={folder / 'run'}", "launch=inline", *SMALL)
    assert any(name.endswith(".tar") for name in published(folder / "run"))
    return folder / "run"


@dataclass(frozen=True)
class Line:
    """A run that is done up to a stage, whose elements wait."""

    run: Path
    stage: str
    hold: Path
    command: tuple[str, ...]

    def queue(self) -> None:
        curate(*self.command)

    def attempts(self) -> dict[int, Attempt]:
        line = plan.load_latest(self.run)
        return Ledger(line.paths).attempts(self.stage, line.static_signature(self.stage))

    def caught(self, but: Sequence[str] = ()) -> list[str]:
        """The elements by unit, once each of them (but for those of before) has an item in flight."""
        eventually(
            lambda: sum(one.item is not None and one.job not in but for one in self.attempts().values()) == UNITS
        )
        return [attempt.job for _, attempt in sorted(self.attempts().items())]

    def log(self, job: str) -> str:
        return (self.run / "logs" / self.stage / f"{job}_0_log.out").read_text()

    def let_go(self) -> None:
        self.hold.unlink()

    def status(self) -> dict[str, Any]:
        return dict(json.loads(curate("status", str(self.run), "--json")))

    def of_stage(self, *names: str) -> dict[str, Any]:
        """What status says of the stage."""
        seen = next(one for one in self.status()["stages"] if one["stage"] == self.stage)
        return {name: seen[name] for name in names}

    def ended(self) -> str:
        """The state, once nothing is queued any more."""
        eventually(lambda: not slurm_says("squeue", "-h"))
        return str(self.status()["state"])

    def assert_same(self, undisturbed: Path, attempts: tuple[int, ...] = (1,) * UNITS) -> None:
        """Done, with the bytes of the undisturbed run; each unit published once, by its n-th attempt."""
        assert self.ended() == "done"
        assert published(self.run) == published(undisturbed)
        line = plan.load_latest(self.run)
        ledger = Ledger(line.paths)
        for folder in [path for path in self.run.glob("*/*/done") if path.is_dir()]:
            records = ledger.records(folder.parent.parent.name, folder.parent.name)
            assert all((one.revision, one.takeovers) == (1, 0) for one in records.values()), records
        mine = ledger.records(self.stage, line.static_signature(self.stage))
        assert tuple(record.attempt for _, record in sorted(mine.items())) == attempts


@pytest.fixture
def line_to(slurm: None, undisturbed: Path, held_ffmpeg: Path, tmp_path: Path) -> Callable[..., Line]:
    """Makes a line that is done up to a stage, and queues it."""

    def make(stage: str, *overrides: str) -> Line:
        to_do = STAGES[STAGES.index(stage) :]
        own = shutil.ignore_patterns("plans", "logs", "submissions", "latest", *to_do)
        run = shutil.copytree(undisturbed, tmp_path / "run", ignore=own)
        common = (f"input={undisturbed.parent / 'videos'}", f"run_dir={run}", *SMALL)
        line = Line(run, stage, held_ffmpeg, ("run", *common, "launch=slurm", "launch.cpu_partition=cpu", *overrides))
        line.queue()
        return line

    return make


def published(run: Path) -> dict[str, bytes]:
    """Every table and every file of the product, by its path."""
    files = [*run.glob("*/*/*.parquet"), *run.glob("pack/*/tars/*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def slurm_says(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def shown(job: str, field: str) -> str:
    """A field of a job, also for a while after its end."""
    words = slurm_says("scontrol", "-o", "show", "job", job).split()
    return next(word.partition("=")[2] for word in words if word.startswith(f"{field}="))


def preempt(jobs: list[str]) -> None:
    """Have the nodes of running elements taken by a job that goes before; one, so that nobody is taken twice."""
    nodes = {shown(job, "BatchHost") for job in jobs}
    options = ["--partition=urgent", f"--nodes={len(nodes)}", f"--nodelist={','.join(nodes)}", "--exclusive"]
    slurm_says("sbatch", *options, "--output=/dev/null", "--chdir=/", "--wrap=sleep 1")


@pytest.mark.parametrize(
    ("gone", "spot", "grace"), [("in time", "GraceTime=120", "launch.grace_s=4"), ("killed", "GraceTime=0", TOO_LATE)]
)
def test_a_preempted_element_is_started_again_and_that_is_no_attempt(
    line_to: Callable[..., Line], undisturbed: Path, gone: str, spot: str, grace: str
) -> None:
    slurm_says("scontrol", "update", "PartitionName=spot", spot)
    try:
        line = line_to("cut", "launch.cpu_partition=spot", grace)
        jobs = line.caught()
        preempt(jobs)
        eventually(lambda: [shown(job, "Restarts") for job in jobs] == ["1"] * UNITS)
        assert ["in flight is dropped" in line.log(job) for job in jobs] == [gone == "in time"] * UNITS
        seen = line.of_stage("running", "queued", "stopped", "attempts", "causes")
        assert seen["running"] + seen["queued"] == UNITS and (seen["attempts"], seen["causes"]) == (0, {})
        line.let_go()
        line.assert_same(undisturbed)
    finally:
        slurm_says("scontrol", "update", "PartitionName=spot", "GraceTime=5")


def test_preempted_where_that_is_the_end_of_a_job_the_same_command_goes_on(
    line_to: Callable[..., Line], undisturbed: Path
) -> None:
    slurm_says("scontrol", "update", "PartitionName=spot", "PreemptMode=CANCEL")
    try:
        line = line_to("cut", "launch.cpu_partition=spot", TOO_LATE)
        jobs = line.caught()
        preempt(jobs)
        eventually(lambda: [shown(job, "JobState") for job in jobs] == ["PREEMPTED"] * UNITS)
        assert line.ended() == "blocked"
        assert line.of_stage("stopped", "causes") == {"stopped": UNITS, "causes": {"preempted": UNITS}}
        line.queue()
        line.caught(but=jobs)
        assert [attempt.strikes for attempt in line.attempts().values()] == [{}] * UNITS
        line.let_go()
        line.assert_same(undisturbed)
    finally:
        slurm_says("scontrol", "update", "PartitionName=spot", "PreemptMode=REQUEUE")


def test_at_the_time_limit_whoever_was_warned_is_started_again_and_the_other_is_retried_with_more(
    line_to: Callable[..., Line], undisturbed: Path
) -> None:
    line = line_to("cut", "launch.grace_s=40")
    warned, late = line.caught()
    slurm_says("scancel", "--signal=STOP", late)  # so that it hears of its warning when Slurm ends it
    # Slurm looks at the limits every 30 s: it warns at once whoever has less than 30 s + grace_s left.
    slurm_says("scontrol", "update", f"JobId={late}", "EndTime=now+15")
    slurm_says("scontrol", "update", f"JobId={warned}", "EndTime=now+70")
    eventually(lambda: shown(late, "JobState") == "TIMEOUT")
    eventually(lambda: shown(warned, "Restarts") == "1")
    line.let_go()
    assert line.ended() == "blocked"
    assert line.of_stage("done", "stopped", "causes") == {"done": 1, "stopped": 1, "causes": {"timeout": 1}}
    said = curate("retry", str(line.run), "--class", "timeout")
    assert "more         resources.cut.minutes: 240 -> 480" in said
    line.assert_same(undisturbed)


def test_what_a_user_cancels_stays_cancelled_until_he_retries(line_to: Callable[..., Line], undisturbed: Path) -> None:
    line = line_to("cut", "launch.max_submit_jobs=4", "launch.grace_s=4")
    job, _ = line.caught()
    slurm_says("scancel", job)
    eventually(lambda: shown(job, "JobState") == "CANCELLED")
    line.let_go()
    assert line.ended() == "blocked"  # after the relay has looked
    assert "relay" in slurm_says("ls", str(line.run / "logs"))
    assert line.of_stage("done", "stopped", "causes") == {"done": 1, "stopped": 1, "causes": {"cancelled": 1}}
    curate("retry", str(line.run))
    line.assert_same(undisturbed)


def test_a_node_that_goes_down_takes_nothing_with_it(line_to: Callable[..., Line], undisturbed: Path) -> None:
    line = line_to("cut", TOO_LATE)
    jobs = line.caught()
    requeued, lost = jobs
    slurm_says("scontrol", "update", f"JobId={lost}", "Requeue=0")
    nodes = ",".join({shown(job, "BatchHost") for job in jobs})  # one, if both fit
    slurm_says("scontrol", "update", f"node={nodes}", "state=down", "reason=test")
    eventually(lambda: shown(lost, "JobState") == "NODE_FAIL" and shown(requeued, "Restarts") == "1")
    slurm_says("scontrol", "update", f"node={nodes}", "state=resume")
    line.let_go()
    assert line.ended() == "blocked"
    assert line.of_stage("done", "stopped", "causes") == {"done": 1, "stopped": 1, "causes": {"node_fail": 1}}
    said = curate("retry", str(line.run), "--class", "transient")
    assert "its node failed" in said
    line.assert_same(undisturbed)


def test_a_requeue_of_the_whole_array_costs_what_was_in_flight(line_to: Callable[..., Line], undisturbed: Path) -> None:
    line = line_to("scan", TOO_LATE)
    jobs = line.caught()
    slurm_says("scontrol", "requeue", jobs[0].partition("_")[0])
    eventually(lambda: [shown(job, "Restarts") for job in jobs] == ["1"] * UNITS)
    line.let_go()
    line.assert_same(undisturbed)
