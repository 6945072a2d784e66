"""What is queued, behind what, and what happens when Slurm refuses, does not answer, or answers too late."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, launch
from hpc_curate.errors import ConfigError, SchedulerError
from hpc_curate.run_folder import claims, submissions
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.stage import Resources


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(25):
        (folder / f"{number}.mp4").write_bytes(b"x" * (number + 1))
    return folder


def scripts(state: Path) -> dict[str, dict[str, str]]:
    """The options of every job, by job id."""
    found = {}
    for path in sorted(state.glob("*.sh")):
        found[path.stem] = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", path.read_text(), re.MULTILINE))
    return found


def stage_of(options: dict[str, str]) -> str:
    return options["job-name"].split("-")[1]


def test_the_line_is_queued_in_one_go_each_stage_behind_those_it_reads(scheduler: Path, prepared: Any) -> None:
    line = prepared()
    launch.run(line)
    jobs = scripts(scheduler)
    ids = {stage_of(options): job for job, options in jobs.items()}
    assert list(ids) == list(line.steps)
    for job, options in jobs.items():
        behind = {ids[name] for name in line.steps[stage_of(options)].waits_for}
        kind, _, after = options.get("dependency", "afterany:").partition(":")
        assert (kind, set(filter(None, after.split(":")))) == ("afterany", behind), job
        assert options["kill-on-invalid-dep"] == "yes"
        assert options["open-mode"] == "append"
    calls = (scheduler / "calls").read_text().split()
    assert calls.count("squeue") <= 1
    assert calls.count("sbatch") == len(line.steps)


def test_cpu_and_gpu_stages_go_to_their_partitions_with_their_resources(scheduler: Path, prepared: Any) -> None:
    own = ("launch.cpu_partition=short", "launch.gpu_partition=a100", "+launch.sbatch.account=abc")
    launch.run(prepared(*own, "resources.embed.gpus=1"))
    options = {stage_of(found): found for found in scripts(scheduler).values()}
    assert {name: found["partition"] for name, found in options.items() if name != "embed"}.keys() >= {"scan", "cut"}
    assert {found["partition"] for name, found in options.items() if name != "embed"} == {"short"}
    assert (options["embed"]["partition"], options["embed"]["gres"]) == ("a100", "gpu:1")
    assert "gres" not in options["scan"]
    assert options["scan"]["signal"] == "USR2@60"
    assert {found["account"] for found in options.values()} == {"abc"}


def test_an_option_that_submitit_does_not_know_is_refused_before_anything_is_queued(
    scheduler: Path, prepared: Any
) -> None:
    line = prepared("+launch.sbatch.acount=abc")
    with pytest.raises(ConfigError, match="launch.sbatch.*acount"):
        launch.run(line)
    assert scripts(scheduler) == {} and submissions.every(line.paths) == []


def test_arrays_stay_below_the_clusters_limits_and_hold_every_unit_once(scheduler: Path, prepared: Any) -> None:
    (scheduler / "config").write_text("MaxArraySize = 4\n")
    line = prepared("stage=[scan,shots]", "launch.max_submit_jobs=20", "launch.waves=false")
    launch.run(line)
    found = submissions.every(line.paths)
    for name in ("scan", "shots"):
        mine = [one for one in found if one.stage == name]
        assert all(len(one.elements) <= 4 for one in mine)
        assert sum(len(one.elements) for one in mine) <= 10
        assert sorted(unit for one in mine for units in one.elements for unit in units) == list(range(25))


def test_a_second_run_queues_nothing_that_is_queued(scheduler: Path, prepared: Any) -> None:
    launch.run(prepared())
    before = scripts(scheduler)
    launch.run(prepared())
    assert scripts(scheduler) == before


def test_two_that_launch_at_once_queue_once(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan,shots,gate]")
    code = "import pathlib, sys; from hpc_curate import launch, plan; launch.run(plan.load(pathlib.Path(sys.argv[1])))"
    started = [subprocess.Popen([sys.executable, "-c", code, line.file]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert [stage_of(options) for options in scripts(scheduler).values()] == ["scan", "shots", "gate"]


def test_a_run_folder_that_slurm_would_read_as_a_pattern_is_refused(scheduler: Path, prepared: Any) -> None:
    line = prepared(f"run_dir={scheduler.parent}/100%used")
    with pytest.raises(ConfigError, match="pattern"):
        launch.run(line)
    assert not scripts(scheduler)


def test_a_sweep_shares_the_arrays_upstream(scheduler: Path, prepared: Any) -> None:
    launch.run(prepared("select=lenient"))
    launch.run(prepared("select=strict"))
    stages = [stage_of(options) for options in scripts(scheduler).values()]
    shared = ("scan", "shots", "gate", "embed", "dedup")
    assert [stages.count(name) for name in shared] == [1] * len(shared)
    assert stages.count("select") == 2
    second = [options for options in scripts(scheduler).values() if stage_of(options) == "select"][1]
    dedup = next(job for job, options in scripts(scheduler).items() if stage_of(options) == "dedup")
    assert dedup in second["dependency"]


@pytest.mark.parametrize(
    ("swept", "shared"),
    [
        ("stage.embed.model=efficientnet,sscd", ("scan", "shots", "gate")),
        ("stage.dedup.floor=0.8,0.9", ("scan", "shots", "gate", "embed")),
    ],
)
def test_a_sweep_on_the_command_line_queues_once_what_its_jobs_share(
    swept: str, shared: tuple[str, ...], scheduler: Path, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(b"of sscd")
    words = [f"input={videos}", f"run_dir={tmp_path / 'run'}", "launch=slurm", "unit.videos=1"]
    words += [f"stage.embed.weights_path={tmp_path / 'weights'}", "stage=[scan,shots,gate,embed,dedup,select]"]
    subprocess.run([sys.executable, "-m", "hpc_curate", "run", "-m", *words, swept], check=True)
    queued = [(stage_of(options), job, options) for job, options in scripts(scheduler).items()]
    counts = Counter(name for name, _, _ in queued)
    assert counts == {
        name: 1 if name in shared else 2 for name in ("scan", "shots", "gate", "embed", "dedup", "select")
    }
    last = next(job for name, job, _ in queued if name == shared[-1])
    waiting = [name for name, _, options in queued if last in options.get("dependency", "")]
    assert all(waiting.count(name) == counts[name] for name in set(waiting) - set(shared)) and waiting


def test_only_units_whose_elements_have_left_the_queue_are_queued_again(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan]")
    launch.run(line)
    queue = (scheduler / "queue").read_text().splitlines()
    (scheduler / "queue").write_text("\n".join(queue[:20]) + "\n")
    launch.run(line)
    first, second = submissions.every(line.paths)
    gone = {unit for units in first.elements[20:] for unit in units}
    assert {unit for units in second.elements for unit in units} == gone


def gone(scheduler: Path, units: int) -> None:
    """The last elements of the queue are neither shown nor remembered."""
    queue = (scheduler / "queue").read_text().splitlines()
    (scheduler / "queue").write_text("\n".join(queue[:-units]) + "\n")


def test_what_squeue_forgets_is_asked_for_again_and_believed(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan,shots]")
    launch.run(line)
    before = scripts(scheduler)
    (scheduler / "forgotten").write_text(" ".join(before))
    (scheduler / "calls").unlink()
    launch.run(line)
    assert scripts(scheduler) == before
    assert (scheduler / "calls").read_text().split().count("scontrol") <= 2  # its limits, and all jobs at once


def test_without_a_second_answer_nothing_is_queued_again(
    scheduler: Path, prepared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    line = prepared("stage=[scan]")
    launch.run(line)
    gone(scheduler, 5)
    (scheduler / "deaf").touch()
    launch.run(line)
    assert len(scripts(scheduler)) == 1
    assert "counts as queued" in caplog.text
    (scheduler / "accounting").write_text("")  # late
    launch.run(line)
    assert len(scripts(scheduler)) == 1
    job, name = next(iter(scripts(scheduler))), submissions.every(line.paths)[0].name
    lines = [f"{job}_23|{name}|NODE_FAIL", f"{job}_[20-22%4]|{name}|CANCELLED by 7", f"{job}_24|{name}|RUNNING"]
    (scheduler / "accounting").write_text("\n".join(lines))
    launch.run(line)
    first, second = submissions.every(line.paths)
    assert {unit for units in second.elements for unit in units} == first.units([20, 21, 22, 23])


def test_states_that_come_back_are_believed(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan]")
    launch.run(line)
    queue = (scheduler / "queue").read_text()
    for state in ("COMPLETING", "RUNNING", "REQUEUED", "SUSPENDED"):
        (scheduler / "queue").write_text(queue.replace("PENDING", state))
        launch.run(line)
    assert len(submissions.every(line.paths)) == 1
    (scheduler / "queue").write_text(queue.replace("PENDING", "NODE_FAIL"))
    launch.run(line)
    first, second = submissions.every(line.paths)
    assert len(first.over) == 25 and second.units(range(25)) == set(range(25))
    (scheduler / "queue").write_text(queue + (scheduler / "queue").read_text())  # a node came back with its jobs
    launch.run(line)
    assert len(submissions.every(line.paths)) == 2


def test_no_answer_of_squeue_queues_nothing(scheduler: Path, prepared: Any) -> None:
    line = prepared()
    launch.run(line)
    before = scripts(scheduler)
    (scheduler / "silent").touch()
    with pytest.raises(SchedulerError, match="Unable to contact"):
        launch.run(line)
    assert scripts(scheduler) == before


def test_a_refusal_names_the_reason_and_leaves_no_submission(scheduler: Path, prepared: Any) -> None:
    (scheduler / "refuse").write_text("sbatch: error: Batch job submission failed: Invalid account")
    line = prepared()
    with pytest.raises(SchedulerError, match="stage scan: .*Invalid account"):
        launch.run(line)
    assert submissions.every(line.paths) == []


def test_a_busy_scheduler_is_asked_again(scheduler: Path, prepared: Any) -> None:
    (scheduler / "busy").write_text("sbatch: error: Batch job submission failed: Resource temporarily unavailable")
    line = prepared("stage=[scan]")
    launch.run(line)
    assert (len(scripts(scheduler)), len(submissions.every(line.paths))) == (1, 1)


def test_what_sbatch_gave_no_answer_for_is_kept_in_mind(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan]")
    (scheduler / "refuse").write_text("sbatch: error: Batch job submission failed: Socket timed out on send/recv")
    with pytest.raises(SchedulerError, match="the same command finds it"):
        launch.run(line)
    (scheduler / "refuse").unlink()
    with pytest.raises(SchedulerError, match="the same command finds it"):
        launch.run(line)  # it may still be accepted
    (submission,) = submissions.every(line.paths)
    assert (submission.job_id, scripts(scheduler)) == (None, {})


def test_a_job_that_was_accepted_without_an_answer_is_adopted(scheduler: Path, prepared: Any) -> None:
    (scheduler / "lost").write_text("sbatch: error: Socket timed out on send/recv operation")
    line = prepared("stage=[scan]")
    launch.run(line)
    (job,) = scripts(scheduler)
    (submission,) = submissions.every(line.paths)
    assert submission.job_id == job
    pickled = {path.name for path in line.paths.logs("scan").glob("*_submitted.pkl")}
    assert pickled == {f"{job}_{index}_submitted.pkl" for index in range(25)}


def test_what_submitit_pickles_is_one_function_and_strings(scheduler: Path, prepared: Any) -> None:
    import pickle

    line = prepared("stage=[scan]")
    launch.run(line)
    folder = line.paths.logs("scan")
    assert folder.stat().st_mode & 0o077 == 0
    pickled = next(folder.rglob("*_submitted.pkl"))
    with pickled.open("rb") as file:
        delayed = pickle.load(file)
    assert delayed.function is launch.element
    assert all(isinstance(argument, str) for argument in delayed.args)
    assert json.loads(line.paths.submission(delayed.args[2]).read_text())["stage"] == "scan"


def test_cancel_takes_back_what_this_run_has_queued_and_nothing_else(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan,shots]")
    launch.run(line)
    with (scheduler / "queue").open("a") as file:
        file.write("999|N/A|RUNNING|somebody-elses\n")
    assert cli.main(["cancel", str(line.paths.root)]) == 0
    assert (scheduler / "cancelled").read_text().split() == sorted(scripts(scheduler))


def test_status_asks_slurm_once_and_says_so_when_it_is_silent(
    scheduler: Path, prepared: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    line = prepared("stage=[scan,shots]")
    launch.run(line)
    (scheduler / "calls").unlink()
    assert cli.main(["status", str(line.paths.root), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["state"], seen["scheduler"]) == ("running", "answered")
    assert [(stage["queued"], stage["done"]) for stage in seen["stages"]] == [(25, 0), (25, 0)]
    assert (scheduler / "calls").read_text().split() == ["squeue"]
    (scheduler / "silent").touch()
    assert cli.main(["status", str(line.paths.root)]) == 0
    assert "silent: squeue" in capsys.readouterr().out


def test_retry_forgives_and_queues_what_failed(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan]")
    launch.run(line)
    (scheduler / "queue").write_text("")
    ledger, signature = Ledger(line.paths), line.static_signature("scan")
    claim = claims.take(line.paths, claims.Work("scan", signature, 7), claims.Holder("job"), lease_s=60)
    for _ in range(3):
        ledger.end(claim, ledger.begin(claim), ("failed", "no luck"))
    claim.release()
    assert cli.main(["retry", str(line.paths.root), "scan"]) == 0
    assert ledger.attempt("scan", signature, 7).attempts == 0
    assert len(submissions.every(line.paths)) == 2


def test_what_does_not_fit_is_left_to_a_relay_on_the_cpu_partition(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan,shots]", "launch.max_submit_jobs=20", "launch.cpu_partition=short")
    launch.run(line)
    jobs = scripts(scheduler)
    assert [stage_of(options) for options in jobs.values()] == ["scan"] * 4 + ["relay"]
    relay = list(jobs.values())[-1]
    assert relay["dependency"] == "afterany:100"
    assert (relay["cpus-per-task"], relay["mem"], relay["partition"]) == ("1", "4000M", "short")
    assert len((scheduler / "queue").read_text().splitlines()) == 20


def test_what_was_left_out_a_relay_leaves_out_too(scheduler: Path, prepared: Any) -> None:
    line = prepared("stage=[scan]", "launch.max_submit_jobs=9")
    launch.run(line, launch.Without(("n7",), {"scan": {23, 24}}))
    for _ in range(5):
        relay = submissions.every(line.paths)[-1]
        if relay.stage != "relay":
            break
        (scheduler / "queue").write_text("")  # all that was queued is over
        launch.relay(str(line.file), relay.name)
    queued = [one for one in submissions.every(line.paths) if one.stage == "scan"]
    assert {unit for one in queued for unit in one.units(range(len(one.elements)))} == set(range(23))
    assert {one.exclude for one in submissions.every(line.paths)} == {("n7",)}


def test_a_relay_that_cannot_queue_leaves_word_and_the_command_to_repeat(
    scheduler: Path, prepared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    line = prepared("stage=[scan,shots]", "launch.max_submit_jobs=20")
    launch.run(line)
    record = next(one for one in submissions.every(line.paths) if one.stage == "relay")
    (scheduler / "queue").write_text("")
    (scheduler / "refuse").write_text("sbatch: error: Batch job submission failed: Access/permission denied")
    with pytest.raises(SystemExit) as ended:
        launch.relay(str(line.file), record.name)
    assert ended.value.code == 1
    word = submissions.read(line.paths.submission(record.name)).word
    assert "Access/permission denied" in word and f"hpc-curate retry {line.paths.root} --plan {line.hash}" in word
    caplog.clear()


def test_options_of_ones_own_come_on_top_of_ours(scheduler: Path, prepared: Any) -> None:
    own = (
        "launch.setup=[module load ffmpeg]",
        "+launch.sbatch.setup=[echo before]",
        "+launch.sbatch.teardown=[echo after]",
        "+launch.sbatch.srun_args=['--mpi=none']",
        "+launch.sbatch.exclude=bad1",
        "+launch.sbatch.exclusive=true",
        "+launch.sbatch.mem=0",
        "+launch.sbatch.additional_parameters={reservation: film}",
    )
    launch.run(prepared("stage=[scan]", *own), launch.Without(hosts=("bad2",)))
    (options,) = scripts(scheduler).values()
    text = next(scheduler.glob("*.sh")).read_text()
    assert {options[name] for name in ("exclude", "mem", "exclusive", "reservation")} == {"bad1,bad2", "0", "", "film"}
    assert {options[name] for name in ("kill-on-invalid-dep", "requeue")} == {"yes", ""}
    before, _, after = text.partition("srun ")
    assert before.index("module load ffmpeg") < before.index("echo before")
    assert after.index("--cpus-per-task=2") < after.index("--mpi=none")
    assert after.index("hpc_curate_code=$?") < after.index("echo after") < after.index("scontrol requeue")
    assert after.rstrip().endswith('exit "$hpc_curate_code"')


def test_workers_of_an_element_multiply_what_it_asks_for(scheduler: Path, prepared: Any) -> None:
    own = ("+resources.scan.workers_per_element=4", "+resources.scan.gpus=1", "resources.scan.memory_gb=6")
    line = prepared("stage=[scan]", *own)
    launch.run(line)
    (options,) = scripts(scheduler).values()
    asked = ("ntasks-per-node", "cpus-per-task", "gres", "mem", "array")
    assert [options[name] for name in asked] == ["4", "2", "gpu:4", "24000M", "0-6%7"]  # a unit for each worker
    assert "--kill-on-bad-exit=0" in next(scheduler.glob("*.sh")).read_text()


def test_a_job_that_queues_others_does_not_bequeath_its_own_place(
    scheduler: Path, prepared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SLURM_JOB_ID", "7"), ("SLURM_RESTART_COUNT", "3"), ("SLURM_CONF", "/etc/slurm.conf")):
        monkeypatch.setenv(name, value)
    launch.run(prepared("stage=[scan]"))
    (given,) = scheduler.glob("*.environment")
    assert given.read_text().split() == ["SLURM_CONF"]


def test_each_slot_of_this_machine_has_gpus_of_its_own(
    make_video: Any, prepared: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    for number in range(4):
        make_video(f"small/{number}.mp4")
    own = ("launch.slots=4", "+resources.scan.gpus=1", "measure=[exposure]", "cutter=stride")
    line = prepared(f"input={tmp_path / 'small'}", "launch=local", "stage=[scan]", *own)
    launch.run(line)
    logs = [path.read_text() for path in sorted(line.paths.logs("scan").glob("*_0_log.out"))]
    assert sorted(re.findall(r"bound to GPUs (\d)", "".join(logs))) == ["5", "6", "7"]


@pytest.mark.parametrize("gpus, slots", [(0, 4), (1, 1), (2, 1), (5, 2), (64, 4)])
def test_slots_are_as_many_as_there_are_gpus_for(gpus: int, slots: int) -> None:
    assert launch._slots(4, Resources(gpus=2), gpus) == slots


def test_who_waits_on_this_machine_is_told_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Job:
        looks = 0

        def done(self) -> bool:
            self.looks += 1
            return self.looks > 2

    with caplog.at_level("INFO"):
        launch._wait([Job()], lambda: "1 of 3 units", every_s=0)
        launch._wait([Job()], lambda: "never")
    assert caplog.messages == ["1 of 3 units"] * 2
