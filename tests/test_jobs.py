"""Units in this process: the verb `work`, `run work.units=…`, and what a sweep of Hydra's launchers is made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpc_curate import cli, complete, config, jobs, overrides, run
from hpc_curate.errors import ConfigError
from hpc_curate.plan import Plan
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Of a run of three units. No video can be read, which is data: their units are done all the same."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.mp4").write_bytes(b"x" * (number + 1))
    return [f"input={folder}", f"run_dir={tmp_path / 'run'}", "unit.videos=1", "stage=[scan,shots,gate,embed,dedup]"]


@pytest.fixture
def line(words: list[str]) -> Plan:
    config.register()
    return run.prepare(config.resolve(overrides.compose([*words, "launch=none"])))


def missing(line: Plan) -> dict[str, list[int]]:
    state = State(line, Ledger(line.paths))
    return {name: state.missing(name) for name in line.steps}


def curate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hpc_curate", *words], capture_output=True, text=True)


def test_units_go_through_all_stages_before_the_first_merge(line: Plan) -> None:
    assert curate("work", str(line.paths.root), "--unit", "0", "2").returncode == 0
    assert missing(line) == {**dict.fromkeys(["scan", "shots", "gate", "embed"], [1]), "dedup": [0]}


def test_a_merge_that_cannot_start_and_a_unit_that_fails_end_with_1(line: Plan) -> None:
    run_folder = str(line.paths.root)
    blocked = curate("work", run_folder, "dedup")
    assert blocked.returncode == 1 and "dedup unit 0 is blocked" in blocked.stderr
    # A folder where the file should come: the unit cannot be published.
    line.paths.rows("shots", line.static_signature("shots"), 1).mkdir(parents=True)
    assert curate("work", run_folder, "scan", "shots", "--unit", "1").returncode == 1
    assert missing(line)["scan"] == [0, 2]


@pytest.mark.parametrize(
    ("stages", "units", "said"),
    [
        (["scan"], [3], "scan has units 0 to 2, not 3"),
        (["scan"], [-1], "not -1"),
        (["scan"], [], "which units of scan"),
        ([], [], "which units of scan"),
        (["dedup"], [0], "is a merge"),
        (["scna"], [0], "did you mean 'scan'"),
    ],
)
def test_what_the_plan_has_not_is_refused(stages: list[str], units: list[int], said: str, line: Plan) -> None:
    with pytest.raises(ConfigError, match=said):
        jobs.chosen(line, stages, units)


def test_a_sweep_over_units_has_one_plan_which_says_nothing_of_them(words: list[str], line: Plan) -> None:
    done = curate("run", "-m", *words, "launch=none", "work.units=0,1", "work.stages=[scan, shots]")
    assert done.returncode == 0, done.stderr
    (file,) = line.paths.plans.glob("*.yaml")
    assert file == line.file and "work" not in line.settings
    assert (missing(line)["scan"], missing(line)["gate"]) == ([2], [0, 1, 2])


def test_jobs_of_a_sweep_are_named_as_hydra_names_them(words: list[str]) -> None:
    sweep = overrides.read(["-m", "work.units=range(0,3)", "work.stages=[scan, shots]", "select=lenient,strict"])
    found = overrides.jobs(sweep)
    assert found[1] == ("work.units=0", "work.stages=[scan,shots]", "select=strict") and len(found) == 6
    assert overrides.apart(found[-1]) == (("select=strict",), {"units": 2, "stages": ["scan", "shots"]})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["hydra/launcher=submitit_local"], "say what each does, such as work.units=0,1,2,3"),
        (["hydra/launcher=submitit_locla"], "did you mean 'submitit_local'"),
        (["hydra/launcher=submitit_local", "hydra.launcher.nodess=2"], "did you mean 'hydra.launcher.nodes'"),
        (["hydra/launcher=submitit_local", "hydra.launcher.nodes={a:[}"], "cannot be read"),
    ],
)
def test_a_launcher_that_cannot_do_it_is_a_mistake(
    more: list[str], said: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert cli.main(["run", "-m", *words, *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_sweep_that_stands_in_yaml_is_a_mistake(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cluster").mkdir()
    swept = "# @package _global_\nhydra: {sweeper: {params: {select: 'lenient,strict'}}}\n"
    (tmp_path / "cluster" / "swept.yaml").write_text(swept)
    assert cli.main(["run", "-m", "--config-dir", str(tmp_path), "cluster=swept", *words]) == 2
    assert "sweeps stand on the command line" in capsys.readouterr().err


def test_a_failing_job_fails_the_sweep_and_its_process(words: list[str], line: Plan) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    line.paths.rows("scan", line.static_signature("scan"), 1, "videos").mkdir(parents=True)
    done = curate("run", "-m", *words, "hydra/launcher=submitit_local", "work.units=1", "work.stages=scan")
    assert done.returncode == 1 and "exit code 1" in done.stderr and "Traceback" not in done.stderr


def test_completion_knows_site_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "mysite.yaml").touch()
    monkeypatch.setenv("HPC_CURATE_CONF", str(tmp_path))
    assert "cluster=mysite" in complete.candidates("hpc-curate run cluster=m")
