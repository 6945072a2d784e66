"""Mistakes on the command line: one clear line with the nearest right name, exit code 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, complete

MISTAKES = {
    "inptu=/data": ("there is no setting 'inptu'", "'input'"),
    "launch=lcoal": ("launch=lcoal: there is no such choice", "'local'"),
    "select=stric": ("select=stric: there is no such choice", "'strict'"),
    "cutter=adaptve": ("cutter=adaptve: there is no such choice", "'adaptive'"),
    "stage.scan.pack_per=1": ("there is no setting 'stage.scan.pack_per'", "'stage.scan.pack_per_s'"),
    "unit.gb=many": ("unit.gb must be float", "many"),
    "unit.videos=0": ("unit.videos=0", "above 0"),
    "limits.attempts=few": ("limits.attempts must be int", "few"),
    "stage.cut.crf=high": ("stage.cut.crf=high", "Integer"),
    "stage.cut.mode=magic": ("stage.cut.mode='magic'", "there is"),
    "stage.cut.threads=0": ("stage.cut", "threads"),
    "resources.scan.cpu=2": ("there is no setting 'resources.scan.cpu'", "'resources.scan.cpus'"),
    "resources.scann.minutes=9": ("there is no setting 'resources.scann.minutes'", "'resources.scan.minutes'"),
    "stage=[scan,embed]": ("needs 'start_pts'", "no stage of the recipe writes it"),
    "stage=[scan,embed,shots]": ("needs 'start_pts'", "which stage shots writes after it"),
    "measure=[motion,bordes]": ("measure=bordes: there is no such choice", "'borders'"),
    "stage.select.rules.motio.min=1": ("there is no setting", "'stage.select.rules.motion.min'", "adds a rule"),
    "select=lenient,strict": ("2 jobs", "add -m"),
    "work.unit=1": ("work has no setting 'unit'", "'units'"),
    "work.units=first": ("work.units are numbers",),
    "stage.scan.pack_per_s=-1": ("stage.scan.pack_per_s=-1", "above 0"),
    "output=/proc/nowhere/out": ("output=/proc/nowhere/out",),
    "~stage.gate.rules": ("cannot be taken out", "another choice"),
    "+launch.slotts=2": ("launch has no setting 'slotts'", "'slots'"),
    "launch.kind=slurm": ("launch.kind=slurm without", "override /launch: slurm"),
    "unit.gb=[": ("'unit.gb=['", "cannot be read"),
    "output=/data/vidéos": ("cannot be read", "\"output='/data/vidéos'\""),
    "+inptu=1": ("there is no setting 'inptu'", "'input'"),
    "/": ("'/' is no setting", "write input=/"),
    "--input=/": ("settings have no dashes", "write input=/"),
    "videos": ("'videos' is no setting", "NAME=VALUE"),
    "stage.verdicts.files=[x]": ("the recipe has no stage verdicts", "stage=[scan,shots,"),
    "+stage.probe.paths.label=taste.json": ("the recipe has no stage probe", "stage=[scan,shots,"),
    "stage=[scan,shots,gate,embed,dedup,select,cut,shard,pack,safety]": (
        "safety stands behind pack",
        "shard,safety,pack",
    ),
    "select=full": ("needs 'shake'", "measure shake does", "recipe=full"),
    "pack=cosmos_predict": ("stage.pack needs 'caption'", "stage caption does: add it", "recipe=captions"),
}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"nothing")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_nearest_right_name(
    mistake: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert cli.main(["run", f"input={videos}", f"run_dir={run}", mistake]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("hpc-curate: ") and len(said.splitlines()) == 1
    for words in MISTAKES[mistake]:
        assert words in said
    assert not run.exists()


def test_a_run_among_its_videos_is_refused(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (videos, videos / "a.mp4"):
        assert cli.main(["run", f"input={source}", f"run_dir={videos}"]) == 2
        assert f"lies in run_dir={videos}" in capsys.readouterr().err
    assert [path.name for path in videos.iterdir()] == ["a.mp4"]


def test_the_order_of_the_stages_is_part_of_the_plan(prepared: Callable[..., Any]) -> None:
    order = ["scan", "shots", "gate", "embed", "safety", "dedup", "select", "cut", "shard", "pack"]
    other = [*order[:3], "safety", "embed", *order[5:]]
    plans = [prepared(f"stage=[{','.join(stages)}]", units=1) for stages in (order, other)]
    assert plans[0].hash != plans[1].hash
    assert [list(plan.steps) for plan in plans] == [order, other]


def test_a_mistake_in_one_job_of_a_sweep_stops_all_of_it(videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli.main(["run", "-m", f"input={videos}", f"run_dir={run}", "select=lenient,strct"]) == 2
    assert not run.exists()


def test_what_must_be_given_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run"]) == 2
    assert "input is not set; add input=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", "no such file or folder"),
        ("empty", "no video"),
        ("list.txt", "is empty"),
        ("twice.csv", "more than one column 'uri'"),
    ],
)
def test_an_input_that_cannot_be_used_leaves_nothing_behind(given: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("\n")
    (tmp_path / "twice.csv").write_text("uri,uri\na.mp4,b.mp4\n")
    command = [sys.executable, "-m", "hpc_curate", "run", f"input={tmp_path / given}", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_run_folder_that_cannot_be_written_is_refused(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir(mode=0o500)
    assert cli.main(["run", f"input={videos}", f"run_dir={tmp_path / 'mine' / 'run'}"]) == 2
    assert "not a folder that can be written" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["status"], ["funnel"], ["logs"], ["retry"], ["table", "-o", str(tmp_path / "t.csv")]):
        assert cli.main([verb[0], str(tmp_path), *verb[1:]]) == 2
        assert "is not a run folder" in capsys.readouterr().err


def test_hydra_shows_the_whole_configuration(videos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpc_curate", "run", f"input={videos}", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run([*command, "--cfg", "job"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pack_per_s:" in done.stdout and "rules:" in done.stdout


@pytest.mark.parametrize(
    ("verb", "named"),
    [
        ("run", ["Curates", "launch=local|slurm|inline", "--dry-run"]),
        ("fetch", ["stage.fetch.licences", "stage.fetch.have", "source.web.private_hosts", "hpc-curate retry RAW"]),
    ],
)
def test_the_help_of_a_verb_says_what_it_does_before_it_lists_the_settings(verb: str, named: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "hpc_curate", verb, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    header, settings, _ = done.stdout.partition("== Configuration groups ==")
    assert settings and header.startswith(f"hpc-curate {verb} input=") and len(header.splitlines()) < 25
    assert all(words in header for words in named)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hpc-curate st", "status"),
        ("hpc-curate run launch=", "launch=slurm"),
        ("hpc-curate run stage.scan.pack_p", "stage.scan.pack_per_s="),
        ("hpc-curate run select=strict cutter=ad", "cutter=adaptive"),
    ],
)
def test_completion_knows_verbs_groups_and_settings(line: str, offered: str) -> None:
    assert offered in complete.candidates(line)


def test_completion_works_in_a_real_bash(tmp_path: Path) -> None:
    program = tmp_path / "hpc-curate"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpc_curate "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(hpc-curate completion bash)"
        COMP_LINE="hpc-curate run launch=sl" COMP_POINT=24 COMP_WORDS=(hpc-curate run launch=sl) COMP_CWORD=2
        _hpc_curate hpc-curate launch=sl run 2>/dev/null
        echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "launch=slurm", done.stderr


def test_a_recipe_that_stops_before_there_are_clips_is_run_and_not_counted(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert cli.main(["run", f"input={videos}", f"run_dir={run}", "launch=inline", "stage=[scan]"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"done; hpc-curate status {run}")
    assert cli.main(["funnel", run]) == 2
    assert "needs stages scan and shots" in capsys.readouterr().err


def test_folders_above_a_private_run_folder_are_not_made_private(videos: Path, tmp_path: Path) -> None:
    above = tmp_path / "runs"
    before = os.umask(0o022)
    try:
        assert cli.main(["run", f"input={videos}", f"run_dir={above / 'first'}", "launch=none", "stage=[scan]"]) == 0
    finally:
        os.umask(before)
    assert above.stat().st_mode & 0o077 == 0o055
    assert (above / "first").stat().st_mode & 0o077 == 0


def test_a_dry_run_of_a_part_is_refused(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "--dry-run", f"input={videos}", f"run_dir={tmp_path / 'run'}", "work.units=[0]"]
    assert cli.main(given) == 2
    assert "leave out work.units" in capsys.readouterr().err
