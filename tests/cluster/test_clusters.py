"""The site examples of conf/cluster, and a site file of one's own: what sbatch would be given."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import config, plan, run
from hpc_curate.cluster import slurm_jobs
from hpc_curate.errors import ConfigError
from hpc_curate.overrides import compose
from hpc_curate.run_folder import submissions

EXAMPLES = sorted(path.stem for path in (config.conf_dir() / "cluster").glob("*.yaml") if path.stem != "none")
Options = dict[str, dict[str, str]]  # of sbatch, by stage


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Twenty units of input."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.mp4").write_bytes(b"x" * (number + 1))
    return [f"input={folder}", f"run_dir={tmp_path / 'run'}", "unit.videos=1"]


@pytest.fixture
def image(tmp_path: Path) -> str:
    """The override that names an image that is there."""
    (tmp_path / "hpc_curate.sqsh").touch()
    return f"container.image={tmp_path / 'hpc_curate.sqsh'}"


@pytest.fixture
def queued(words: list[str]) -> Any:
    """Plans a run and returns the options of every stage's array."""

    def options(*overrides: str) -> Options:
        config.register()
        line = run.prepare(config.resolve(compose([*words, *overrides])))
        found = {}
        for name, step in line.steps.items():
            submission = submissions.prepare(line, name, submissions.deal(range(step.units), step.units))
            script = slurm_jobs.script(line, submission, ())
            found[name] = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.MULTILINE))
            found[name]["srun"] = next(text for text in script.splitlines() if text.startswith("srun "))
        return found

    return options


def of(found: Options, option: str) -> dict[str, str | None]:
    return {name: options.get(option) for name, options in found.items()}


def test_gpu_preemptible_lends_gpus_to_embed_and_keeps_the_rest_safe(queued: Any) -> None:
    found = queued("cluster=gpu_preemptible")
    assert {name for name, partition in of(found, "partition").items() if partition == "gpu-idle,gpu"} == {"embed"}
    assert {name for name, gres in of(found, "gres").items() if gres} == {"embed"}
    assert set(of(found, "signal").values()) == {"USR2@25"}
    assert set(of(found, "account").values()) == {"myproject"}
    assert all("requeue" in options for options in found.values())


def test_no_accounting_names_no_account_and_asks_nobody_for_limits(queued: Any, tmp_path: Path) -> None:
    found = queued("cluster=no_accounting")
    assert not any({"account", "qos"} & set(options) for options in found.values())
    assert found["scan"]["array"] == "0-19%16"
    assert plan.load_latest(tmp_path / "run").settings["launch"]["max_submit_jobs"] == 2000


def test_pyxis_starts_every_task_in_the_image(queued: Any, image: str) -> None:
    found = queued("cluster=pyxis", image)
    assert all(f"--container-image={image.partition('=')[2]}" in options["srun"] for options in found.values())
    assert all("AWS_SECRET_ACCESS_KEY" in options["srun"] for options in found.values())
    assert of(found, "partition") == {name: "batch" if name == "embed" else "cpu" for name in found}


def test_an_image_that_is_not_there_is_a_mistake(queued: Any) -> None:
    with pytest.raises(ConfigError, match="hpc_curate.sqsh is not there"):
        queued("cluster=pyxis")


def test_whole_nodes_fills_them_with_workers(queued: Any) -> None:
    found = queued("cluster=whole_nodes")
    assert set(of(found, "mem").values()) == {"0"}
    assert all("exclusive" in options for options in found.values())
    tasks = {name: int(options["ntasks-per-node"]) for name, options in found.items()}
    cpus = {name: int(options["cpus-per-task"]) for name, options in found.items()}
    assert (tasks["scan"], tasks["embed"], tasks["dedup"]) == (32, 4, 1)
    assert found["embed"]["gres"] == "gpu:4"
    assert all(tasks[name] * cpus[name] <= (32 if name == "embed" else 128) for name in found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_command_line_says_wins_over_the_site(name: str, queued: Any, image: str) -> None:
    own = [image] if name == "pyxis" else []
    found = queued(f"cluster={name}", *own, "launch.cpu_partition=mine", "+resources.scan.minutes=7")
    assert (found["scan"]["partition"], found["scan"]["time"]) == ("mine", "7")


def test_there_are_four_examples_and_each_is_tested_above() -> None:
    assert EXAMPLES == ["gpu_preemptible", "no_accounting", "pyxis", "whole_nodes"]
    assert [name for name in EXAMPLES if f"test_{name}_" not in Path(__file__).read_text()] == []


# -- a site file of one's own ---------------------------------------------------------------------------------------

SITE = """# @package _global_
defaults:
  - override /launch: none
limits: {attempts: 7}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with cluster/mysite.yaml; its name has characters that mean something to Hydra."""
    folder = tmp_path / "my site's, conf"
    (folder / "cluster").mkdir(parents=True)
    (folder / "cluster" / "mysite.yaml").write_text(SITE)
    return folder


def curate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hpc_curate", "run", *words], capture_output=True, text=True)


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_folder_of_site_files_is_found_by_its_flag(
    sweep: list[str], site: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.parent)
    done = curate(*words, *sweep, "--config-dir", site.name, "cluster=mysite")
    assert done.returncode == 0, done.stderr
    settings = plan.load_latest(tmp_path / "run").settings
    assert (settings["launch"]["kind"], settings["limits"]["attempts"]) == ("none", 7)


def test_a_folder_of_site_files_is_found_by_the_environment(
    site: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_CURATE_CONF", str(site))
    done = curate(*words, "cluster=mysite")
    assert done.returncode == 0, done.stderr
    assert plan.load_latest(tmp_path / "run").settings["limits"]["attempts"] == 7
    wrong = curate(*words, "cluster=mysit")
    assert wrong.returncode == 2 and "did you mean 'mysite'" in wrong.stderr


def test_a_folder_that_is_not_there_is_a_mistake(words: list[str]) -> None:
    done = curate(*words, "--config-dir=nowhere")
    assert (done.returncode, done.stderr.strip()) == (2, "hpc-curate: --config-dir=nowhere: there is no such folder")
