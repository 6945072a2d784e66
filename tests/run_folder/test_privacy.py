"""A run is for its owner or his group, and its secrets are nowhere: canaries in the environment of real runs."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hpc_curate import launch
from hpc_curate.run_folder import privacy, submissions

pytestmark = pytest.mark.timeout(600)

CANARY = "canary0b5e77a1"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "WANDB_API_KEY")
MARKER = "marker3c19d2f4"  # no secret: what a search that works finds
SMALL = ("stage=[scan,shots]", "measure=[exposure]", "cutter=stride", "unit.videos=1")
KEEP_ALL = [
    f"stage.{stage}.rules.{rule}=null" for stage in ("gate", "select") for rule in ("crop_short_side_px", "motion")
]
# Writes down what an ffmpeg is told, and becomes it.
TELLS = """#!/bin/sh
cat /proc/$$/environ >'{folder}'/$$
exec '{ffmpeg}' "$@"
"""
CODE = """import sys; from hpc_curate import cli; from hpc_curate.{folder} import {module}
{module}.{name} = lambda *_: None
sys.exit(cli.main(sys.argv[1:]))"""


@dataclass
class Seen:
    """What can be seen of a command from outside."""

    printed: str = ""
    code: int = 0
    commands: set[bytes] = field(default_factory=set)  # arguments of every process of this machine meanwhile


def watched(arguments: list[str], without: str = "", **secrets: str) -> Seen:
    """Run the command line with secrets in its environment, under an umask that hides nothing.

    Args:
        without: the safeguard that is switched off, such as run_folder.privacy.apply.
    """
    off = dict(zip(("folder", "module", "name"), without.split("."), strict=False))
    python = ["-c", CODE.format(**off)] if without else ["-m", "hpc_curate"]
    environment = {**os.environ, **secrets}
    seen, ended = Seen(), threading.Event()
    thread = threading.Thread(target=_look_at_processes, args=(seen, ended))
    thread.start()
    try:
        done = subprocess.run(
            [sys.executable, *python, *arguments], capture_output=True, text=True, umask=0o022, env=environment
        )
    finally:
        ended.set()
        thread.join()
    seen.printed, seen.code = done.stdout + done.stderr, done.returncode
    return seen


def _look_at_processes(seen: Seen, ended: threading.Event) -> None:
    while not ended.wait(0.05):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                seen.commands.add((process / "cmdline").read_bytes())
            except OSError:
                continue  # it has ended, or is somebody else's


def holding(folder: Path, text: str) -> set[str]:
    """The files below a folder in which a text stands, whatever they are compressed by."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            content = str(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else path.read_bytes()
            if text.encode() in content:
                found.add(path.relative_to(folder).parts[0] if path.suffix != ".tar" else "a tar")
    return found


def open_to_others(folder: Path, mode: int = 0o077) -> list[str]:
    """What others could read or write if they got so far."""
    every = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    return [str(path.relative_to(folder)) for path in every if stat.S_IMODE(path.stat().st_mode) & mode]


@pytest.fixture(scope="session")
def film(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of one video, with a column that travels."""
    folder = tmp_path_factory.mktemp("film")
    picture = ["-f", "lavfi", "-i", "testsrc2=s=640x480:r=25:d=4", "-c:v", "libx264", "-preset", "ultrafast"]
    subprocess.run([ffmpeg, "-v", "error", *picture, folder / "film.mp4"], check=True)
    (folder / "films.csv").write_text(f"uri,licence\nfilm.mp4,{MARKER}\n")
    return folder / "films.csv"


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for those of decoders and encoders."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session")
def whole_line(
    film: Path, ffmpeg: str, environments: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Seen]:
    """The line to its end in processes of this machine, with canaries in the environment of all of them."""
    run = tmp_path_factory.mktemp("whole") / "run"
    program = run.with_name("ffmpeg")
    program.write_text(TELLS.format(folder=environments, ffmpeg=ffmpeg))
    program.chmod(0o755)
    words = ["run", f"input={film}", f"run_dir={run}", f"hydra.job.name={MARKER}", *KEEP_ALL]
    secrets = {name: f"{CANARY}-{name}" for name in SECRETS} | {"HPC_CURATE_FFMPEG": str(program)}
    seen = watched(words, S3_ENDPOINT_URL=f"http://dev:{CANARY}@127.0.0.1:9", **secrets)
    assert seen.code == 0, seen.printed
    return run, seen


def test_no_secret_of_the_environment_is_in_the_run_folder_or_in_what_is_printed(whole_line: tuple[Path, Seen]) -> None:
    run, seen = whole_line
    assert holding(run, MARKER) >= {"units", "logs", "a tar"}
    assert holding(run, CANARY) == set()
    assert CANARY not in seen.printed


def test_no_secret_is_in_the_arguments_of_a_process_or_in_what_a_decoder_is_told(
    whole_line: tuple[Path, Seen], environments: Path
) -> None:
    _, seen = whole_line
    assert any(b"submitit" in command for command in seen.commands)
    assert any(MARKER.encode() in command for command in seen.commands)
    assert not any(CANARY.encode() in command for command in seen.commands)
    told = [path.read_bytes() for path in environments.iterdir()]
    assert told and all(b"PATH=" in environment for environment in told)
    assert not any(CANARY.encode() in environment for environment in told)


def test_nobody_else_may_look_at_a_run(whole_line: tuple[Path, Seen]) -> None:
    run, _ = whole_line
    assert open_to_others(run) == []
    assert list(run.glob("pack/*/tars/*.tar")) and list(run.glob("report/*/index.html"))


@pytest.mark.parametrize("kind", ["slurm", "none", "inline"])
def test_however_it_is_launched_no_secret_is_left_and_nobody_else_may_look(
    kind: str, scheduler: Path, film: Path, tmp_path: Path
) -> None:
    words = ["run", f"input={film}", f"run_dir={tmp_path / 'run'}", f"launch={kind}", *SMALL]
    words += [f"+launch.sbatch.comment={MARKER}"] if kind == "slurm" else []
    seen = watched(words, **dict.fromkeys(SECRETS, CANARY))
    assert seen.code == 0, seen.printed
    assert open_to_others(tmp_path / "run") == []
    assert holding(tmp_path / "run", CANARY) | holding(scheduler, CANARY) == set()
    assert CANARY not in seen.printed
    if kind == "slurm":
        assert {"plans", "logs"} <= holding(tmp_path / "run", MARKER)
        assert holding(scheduler, MARKER)


def test_without_the_umask_others_may_look(film: Path, tmp_path: Path) -> None:
    words = ["run", f"input={film}", f"run_dir={tmp_path / 'run'}", "launch=local", *SMALL]
    assert watched(words, without="run_folder.privacy.apply").code == 0
    assert {"plans", "units", "latest", "submissions"} <= set(open_to_others(tmp_path / "run"))


def test_what_a_task_makes_is_private_whatever_the_umask_of_whoever_starts_it(film: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [f"input={film}", f"run_dir={run}", "launch=none", *SMALL]
    for arguments in (["run", *words], ["work", str(run), "--unit", "0"], ["status", str(run)], ["retry", str(run)]):
        assert watched(arguments).code == 0
    assert list(run.glob("shots/*/00000.parquet"))
    assert open_to_others(run) == []


def test_the_folder_of_the_data_set_follows_the_setting(tmp_path: Path, prepared: Any) -> None:
    for name, shareable, mode in (("a", "false", 0o700), ("b", "true", 0o2770)):
        prepared(f"output={tmp_path / name}", f"shareable={shareable}", units=1)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.fixture
def shared(film: Path, scheduler: Path, tmp_path: Path) -> Path:
    """A run that was queued, and begun by one of its tasks, for the group."""
    run = tmp_path / "run"
    words = ["run", f"input={film}", f"run_dir={run}", "launch=slurm", "shareable=true", *SMALL]
    for arguments in (words, ["work", str(run), "--unit", "0"]):
        seen = watched(arguments)
        assert seen.code == 0, seen.printed
    return run


def test_what_is_shared_is_open_to_the_group_but_for_what_is_unpickled(shared: Path) -> None:
    assert open_to_others(shared, 0o007) == []
    pickles = {path.parent for path in shared.rglob("*.pkl")}
    assert pickles == {shared / "logs" / stage / privacy.me() for stage in ("scan", "shots")}
    closed = [*pickles, *(path for folder in pickles for path in folder.iterdir())]
    closed += [path for path in (shared / "logs" / "hydra").rglob("*")]
    for path in [shared, *shared.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = (0o2050 if path.is_dir() else 0o040) if path in closed else (0o2070 if path.is_dir() else 0o060)
        assert mode & 0o2070 == wanted, (path, oct(mode))


def test_sharing_is_part_of_no_signature(prepared: Any) -> None:
    mine, ours = prepared("shareable=false", units=1), prepared("shareable=true", units=1)
    assert mine.hash != ours.hash
    assert [mine.work_signature(name) for name in mine.steps] == [ours.work_signature(name) for name in ours.steps]


@pytest.mark.parametrize(
    ("modes", "shareable", "said"),
    [
        ((0o700, 0o700), False, ""),
        ((0o755, 0o700), False, "chmod -R u=rwX,go="),
        ((0o700, 0o750), False, "chmod -R u=rwX,go="),
        ((0o2770, 0o2770), True, ""),
        ((0o2770, 0o2770), False, "add shareable=true, or, to end the sharing: chmod -R u=rwX,go=,g-s"),
        ((0o2775, 0o2770), True, "chmod -R u=rwX,g=rwX,o="),
        ((0o2770, 0o700), True, "chmod -R g+rwX"),
    ],
)
def test_a_run_folder_that_is_not_as_the_setting_says_is_named_with_what_to_do(
    modes: tuple[int, int], shareable: bool, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "a run"
    (folder / "plans").mkdir(parents=True)
    for path, mode in zip((folder, folder / "plans"), modes, strict=True):
        path.chmod(mode)
    privacy.warn(folder, {"shareable": shareable})
    warned = "".join(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert said in warned and bool(said) == bool(warned)
    assert not said or f"'{folder}'" in warned


def test_a_user_is_known_by_number_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    real = privacy.me()
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert privacy.me() == real


@pytest.fixture
def ours(scheduler: Path, prepared: Any) -> Iterator[Any]:
    """A shared line of which somebody else has queued the first stage."""
    line = prepared("stage=[scan,shots]", "shareable=true", units=4)
    launch.run(line)
    for record in submissions.every(line.paths):
        if record.stage == "scan":
            theirs = submissions.Submission(**{**record.__dict__, "user": "somebody"})
            submissions.write(line.paths, theirs)
            change_queue(scheduler, lambda job, row, at=theirs: [*row[:4], "somebody"] if job == at.job_id else row)
        else:
            submissions.forget(line.paths, record)
            change_queue(scheduler, lambda job, row, at=record: [] if job == at.job_id else row)
    return line


def change_queue(state: Path, change: Callable[..., list[str]]) -> None:
    rows = [line.split("|") for line in (state / "queue").read_text().splitlines()]
    changed = [change(row[0], row) for row in rows]
    (state / "queue").write_text("".join("|".join(row) + "\n" for row in changed if row))


def queued_stages(line: Any) -> list[str]:
    return [one.stage for one in submissions.every(line.paths)]


def test_what_another_has_queued_is_not_queued_again(ours: Any, scheduler: Path) -> None:
    launch.run(ours)
    assert queued_stages(ours) == ["scan", "shots"]
    theirs, mine = submissions.every(ours.paths)
    assert f"--dependency=afterany:{theirs.job_id}" in (scheduler / f"{mine.job_id}.sh").read_text()


def test_what_others_have_queued_takes_nothing_of_my_own_limit(ours: Any, scheduler: Path) -> None:
    line = ours
    line.settings["launch"]["max_submit_jobs"] = 5  # four elements and a relay
    launch.run(line)
    assert queued_stages(line) == ["scan", "shots"]


@pytest.mark.parametrize(
    ("private", "stages"), [("none", ["scan", "scan", "shots"]), ("jobs,users", ["scan", "shots"])]
)
def test_where_the_jobs_of_others_are_not_shown_their_absence_says_nothing(
    private: str, stages: list[str], ours: Any, scheduler: Path
) -> None:
    (scheduler / "config").write_text(f"PrivateData = {private}\nMaxArraySize = 1001\n")
    change_queue(scheduler, lambda job, row: [] if row[4:] == ["somebody"] else row)
    launch.run(ours)
    assert sorted(queued_stages(ours)) == stages


def test_cancel_leaves_what_another_has_queued_and_says_so(
    ours: Any, scheduler: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hpc_curate import cli

    launch.run(ours)
    theirs, mine = submissions.every(ours.paths)
    assert cli.main(["cancel", str(ours.paths.root)]) == 0
    said = capsys.readouterr().out
    assert f"left scan, job {theirs.job_id}: only somebody can cancel it" in said
    assert f"cancelled shots, job {mine.job_id}" in said
    assert (scheduler / "cancelled").read_text().split() == [mine.job_id]
