"""A pilot is the whole line over a small sample that looks like the whole, in a run folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate import plan as plans
from hpc_curate import units
from hpc_curate.errors import ConfigError
from hpc_curate.io import delivery
from hpc_curate.io.paths import RunPaths
from hpc_curate.planning import evidence, pilot
from hpc_curate.records import UNITS
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

VIDEOS = 6
SETTINGS = ["launch=inline", "unit.videos=1", "gate=none", "select=none"]


def frozen(sizes: list[int]) -> pa.Table:
    rows = [
        {"unit": n % 7, "video_id": str(n), "uri": f"/d/{n:04}", "name": "", "bytes": size, "version": "", "extra": ""}
        for n, size in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, UNITS)


def test_small_and_large_videos_are_in_the_sample_as_in_the_whole() -> None:
    sizes = np.random.default_rng(1).lognormal(18, 1.2, 1000).astype(int)
    videos = frozen(sizes.tolist())
    taken = pilot.sample(videos, 0.05)
    assert len(taken) == 50
    found = np.asarray(taken["bytes"].to_pylist())
    edges = np.quantile(sizes, np.linspace(0, 1, 11))
    assert np.histogram(found, edges)[0].tolist() == [5] * 10
    assert len(set(taken["unit"].to_pylist())) == 7
    assert pilot.sample(videos.take(np.arange(999, -1, -1)), 0.05).sort_by("uri") == taken.sort_by("uri")


def test_a_sample_has_at_least_one_video_and_may_have_all() -> None:
    assert len(pilot.sample(frozen([5, 6, 7]), 1e-9)) == 1
    assert len(pilot.sample(frozen([5, 6, 7]), 1.0)) == 3


def test_its_data_set_has_a_place_of_its_own() -> None:
    assert delivery.below(None, "pilot") is None
    assert delivery.below("/data/set", "pilot") == "/data/set/pilot"
    assert delivery.below("s3://bucket/set", "pilot") == "s3://bucket/set/pilot"


@pytest.fixture(scope="module")
def videos(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(VIDEOS):
        source = f"testsrc=s=320x240:r=10:d={number + 2}"
        command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-threads", "1"]
        subprocess.run([*command, folder / f"{number}.mp4"], check=True)
    return folder


def curate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hpc_curate", *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def piloted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run folder with a finished pilot of two units, and what the command printed."""
    run = tmp_path_factory.mktemp("piloted") / "run"
    done = curate("run", "pilot=2", f"input={videos}", f"run_dir={run}", *SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout


def test_the_whole_line_was_run_over_the_sample_and_nothing_of_the_rest(piloted: tuple[Path, str]) -> None:
    run, _ = piloted
    whole, small = plans.load_latest(run), plans.load_latest(run / "pilot")
    assert (whole.units, small.units, small.settings["pilot"]) == (VIDEOS, 2, 2)
    assert set(units.all_videos(small.paths)["uri"].to_pylist()) < set(units.all_videos(whole.paths)["uri"].to_pylist())
    state = State(small, Ledger(small.paths))
    assert [name for name in small.steps if state.missing(name)] == []
    assert not list(run.glob("scan"))
    assert list(run.glob("pilot/pack/*/tars/*.tar"))


def test_every_task_of_it_has_its_cost(piloted: tuple[Path, str]) -> None:
    found = evidence.gather(plans.load_latest(piloted[0]))
    assert all(found.values())
    for samples in found.values():
        for sample in samples:
            assert sample.seconds > 0 and sample.cpu_s > 0 and sample.memory_gb > 0.05
            assert not sample.resumed


def test_the_proposal_is_printed_at_the_end_and_on_demand(piloted: tuple[Path, str]) -> None:
    run, printed = piloted
    for folder in (run, run / "pilot"):
        assert curate("propose", str(folder)).stdout.strip() in printed
    (scan, *_) = json.loads(curate("propose", str(run), "--json").stdout)
    assert (scan["stage"], scan["done"], scan["left"], scan["minutes"]) == ("scan", 2, VIDEOS, 30)


def test_the_whole_then_does_what_the_pilot_left_and_shares_its_settings(piloted: tuple[Path, str]) -> None:
    whole, small = plans.load_latest(piloted[0]), plans.load_latest(piloted[0] / "pilot")
    assert "pilot" not in whole.settings
    assert [whole.static_signature(name) for name in whole.steps] == [
        small.static_signature(name) for name in whole.steps
    ]
    assert RunPaths(small.paths.root).whole == whole.paths


def test_a_run_that_has_begun_says_what_its_rest_takes(videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert curate("run", f"input={videos}", f"run_dir={run}", *SETTINGS, "launch=none").returncode == 0
    assert curate("work", str(run), "scan", "--unit", "1", "4").returncode == 0
    found = {one["stage"]: one for one in json.loads(curate("propose", str(run), "--json").stdout)}
    assert (found["scan"]["done"], found["scan"]["left"]) == (2, VIDEOS - 2)
    assert (found["cut"]["done"], found["cut"]["minutes"]) == (0, None)
    rest = ", ".join(name for name in found if name != "scan")
    assert f"{rest}: no task is done" in curate("propose", str(run)).stdout


def test_a_pilot_as_large_as_the_run_is_refused(videos: Path, tmp_path: Path) -> None:
    done = curate("run", "pilot=6", f"input={videos}", f"run_dir={tmp_path / 'run'}", *SETTINGS)
    assert done.returncode == 2
    assert "pilot=6 of 6 units is the whole run" in done.stderr


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "some"])
def test_a_pilot_that_is_no_count_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="must be a number of units"):
        pilot.asked({"pilot": wrong})
