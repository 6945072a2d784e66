"""The arithmetic of a proposal, on costs that one can work out in one's head."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, config, plan
from hpc_curate.overrides import compose, read
from hpc_curate.planning import proposal
from hpc_curate.planning.evidence import Sample, gb_of_tasks
from hpc_curate.planning.proposal import Proposal, Work
from hpc_curate.run_folder.ledger import Record

UNITS = 100


def sample(gb: float = 1.0, seconds: float = 60.0, **facts: Any) -> Sample:
    known = {"cpu_s": 0.0, "memory_gb": 0.0, "bytes": 0, "files": 0, "attempts": 1, "host": "node", "resumed": False}
    return Sample(gb=gb, seconds=seconds, **{**known, **facts})


@pytest.fixture
def work(tmp_path: Path) -> Any:
    """Makes what is left of a line over units of 1 GB; nothing of it is done."""

    def make(*overrides: str, parallel: int = 4, most: int | None = None) -> Work:
        config.register()
        composed = compose([f"input={tmp_path}", f"run_dir={tmp_path / 'run'}", "launch=slurm", *overrides])
        line = plan.build(config.resolve(composed), UNITS)
        missing = {name: range(step.units) for name, step in line.steps.items()}
        return Work(line, [1.0] * UNITS, missing, dict.fromkeys(line.steps, parallel), most)

    return make


def proposed(work: Work, stage: str, *samples: Sample) -> Proposal:
    found = proposal.propose(work, {stage: list(samples)})
    return next(one for one in found if one.stage == stage)


def test_elements_take_twenty_minutes_and_the_walltime_holds_the_slow_ones(work: Any) -> None:
    scan = proposed(work(), "scan", sample(seconds=120), sample(seconds=240), sample(seconds=120, gb=1))
    assert scan.seconds == 160
    assert scan.units_per_element == 8  # 7.5 units of 160 s are 20 minutes
    assert scan.elements == 13
    assert scan.spread == (0.75, 1.5)
    # The largest of 13 elements has 8 units at 240 s, half as much again to spare: 48 minutes.
    assert scan.minutes == 50
    assert (scan.done, scan.left) == (3, UNITS)


def test_hours_count_what_is_asked_for_and_rounds_of_elements(work: Any) -> None:
    scan = proposed(work("resources.scan.cpus=8", "+resources.scan.gpus=2"), "scan", sample(seconds=3600))
    assert (scan.core_hours, scan.gpu_hours) == (800, 200)
    assert (scan.elements, scan.hours) == (100, 25)  # four at once
    assert proposed(work(parallel=1000), "scan", sample(seconds=3600)).hours == 1


def test_seconds_grow_with_the_source_and_small_units_do_not_speak_of_the_slowest(work: Any) -> None:
    scan = proposed(work(), "scan", sample(gb=2, seconds=200), sample(gb=2, seconds=200), sample(gb=0.1, seconds=10))
    assert scan.seconds == 100
    slow = proposed(work(), "scan", sample(gb=2, seconds=200), sample(gb=2, seconds=200), sample(gb=0.1, seconds=90))
    assert slow.spread == (0.84, 0.84)


def test_a_walltime_is_never_shorter_than_half_an_hour(work: Any) -> None:
    assert proposed(work(), "scan", sample(seconds=0.5)).minutes == 30


def test_memory_is_the_highest_with_a_margin_and_not_guessed_where_it_was_not_measured(work: Any) -> None:
    measured = (sample(memory_gb=2.5), sample(memory_gb=4.0, resumed=True))
    assert proposed(work(), "scan", *measured).memory_gb == 6  # 5.2
    assert proposed(work(), "scan", sample(memory_gb=0.3)).memory_gb == 2
    unknown = proposed(work(), "scan", sample())
    assert unknown.memory_gb is None
    assert not any("memory" in override for override in unknown.overrides())


def test_cores_are_those_that_were_busy(work: Any) -> None:
    assert proposed(work(), "scan", sample(seconds=60, cpu_s=90), sample(seconds=60, cpu_s=0)).cores == 1.5


def test_a_merge_takes_longer_over_more_and_keeps_its_memory(work: Any) -> None:
    dedup = proposed(work("resources.dedup.memory_gb=8"), "dedup", sample(gb=10, seconds=180, memory_gb=1))
    assert (dedup.seconds, dedup.memory_gb, dedup.units_per_element) == (1800, 8, None)
    assert dedup.minutes == 50  # 45
    assert any("10 % of the source" in note for note in dedup.notes)
    assert proposed(work(), "dedup", sample(gb=10, memory_gb=20)).memory_gb == 26


def test_a_merge_that_is_carried_far_keeps_its_walltime(work: Any) -> None:
    """Two seconds of start over 1 GB are not two hundred over a hundred."""
    near = proposed(work("+resources.dedup.minutes=60"), "dedup", sample(gb=1, seconds=30))
    assert (near.seconds, near.minutes) == (3000, 80)
    far = proposed(work("+resources.dedup.minutes=60"), "dedup", sample(gb=1, seconds=300))
    assert (far.seconds, far.minutes, far.hours) == (3600, 60, 1)
    assert any("minutes are left alone" in note for note in far.notes)


def test_tasks_that_pack_have_more_to_do_in_the_whole_than_in_the_pilot(work: Any) -> None:
    line = work().plan
    groups = line.steps["pack"].units
    assert gb_of_tasks(line.steps["pack"], [1.0] * UNITS) == [UNITS / groups] * groups
    pack = proposed(work(), "pack", *[sample(gb=2 / groups, seconds=6)] * groups)
    assert (pack.seconds, pack.left) == (6 * UNITS / 2, groups)


def test_bytes_and_files_are_those_of_what_is_left(work: Any) -> None:
    scan = proposed(work(), "scan", sample(gb=2, bytes=500, files=4), sample(gb=3, bytes=500, files=4))
    assert scan.left_bytes == 200 * UNITS
    assert scan.left_files == 4 * UNITS + 3 * scan.elements


def test_what_was_resumed_says_nothing_of_time(work: Any) -> None:
    mixed = proposed(work(), "scan", sample(seconds=60), sample(seconds=1, resumed=True))
    assert (mixed.seconds, mixed.done) == (60, 1)
    alone = proposed(work(), "scan", sample(resumed=True))
    assert alone.minutes is None and "none was done at one go (resumed, or asked for more later)" in alone.notes[0]


def test_of_a_stage_that_no_clip_came_to_nothing_is_known(work: Any) -> None:
    idle, busy = sample(seconds=0.1, memory_gb=0.2, rows=0), sample(seconds=600, memory_gb=3.0, rows=40)
    alone = proposed(work(), "cut", idle, idle)
    assert (alone.minutes, alone.memory_gb, alone.core_hours) == (None, None, None)
    assert "no clip came to any task" in alone.notes[0]
    assert proposed(work(), "cut", idle, busy).memory_gb == 4


def test_elements_are_no_more_than_may_be_queued(work: Any) -> None:
    scan = proposed(work(most=10), "scan", sample(seconds=7200))
    assert (scan.units_per_element, scan.elements) == (10, 10)
    assert any("unit.gb=0.5" in note for note in scan.notes)


def test_long_tasks_that_pack_want_more_groups(work: Any) -> None:
    groups = work().plan.steps["pack"].units
    pack = proposed(work("+resources.pack.minutes=9999"), "pack", sample(gb=UNITS / groups, seconds=7200))
    assert f"stage.shard.groups={2 * groups}" in pack.notes[0]


def test_workers_of_an_element_share_it(work: Any) -> None:
    scan = proposed(work("+resources.scan.workers_per_element=4"), "scan", sample(seconds=600))
    assert (scan.units_per_element, scan.elements) == (2, 13)
    assert scan.minutes == 30  # 8 units in four workers, twenty minutes, and half as much again
    assert scan.core_hours == pytest.approx(100 * 600 * 2 / 3600, abs=1e-3)


def test_the_line_takes_as_long_as_its_longest_way(work: Any) -> None:
    left = work()
    samples = {name: [sample(gb=sum(gb_of_tasks(step, left.gb)))] for name, step in left.plan.steps.items()}
    found = proposal.propose(left, samples)
    hours = proposal.line_hours(left.plan, found)
    assert hours == pytest.approx(sum(one.hours or 0 for one in found), abs=1e-3)  # each waits for the one before
    assert proposal.line_hours(left.plan, proposal.propose(left, {**samples, "cut": []})) is None


def test_a_stage_of_which_nothing_is_done_is_left_open(work: Any) -> None:
    left = work()
    found = proposal.propose(left, {"scan": [sample()]})
    open_ones = [one for one in found if one.stage != "scan"]
    assert all(one.minutes is None and not one.overrides() for one in open_ones)
    text = proposal.text(left, found)
    assert "no task is done: nothing to propose" in text
    assert text.count("resources.") == 2  # minutes and units_per_element of scan


def test_the_overrides_can_be_given_to_run(work: Any, tmp_path: Path) -> None:
    left = work()
    samples = {name: [sample(memory_gb=3, gb=UNITS)] for name in left.plan.steps}
    given = [text for one in proposal.propose(left, samples) for text in one.overrides()]
    settings = config.resolve(compose(read([f"input={tmp_path}", f"run_dir={tmp_path}", *given]).ours))
    resources = config.resources(settings, "shots")
    assert (resources.minutes, resources.memory_gb, resources.units_per_element) == (30, 4, 100)


def test_a_run_of_which_nothing_is_done_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.register()
    settings = config.resolve(compose([f"input={tmp_path}", f"run_dir={tmp_path / 'run'}", "launch=inline"]))
    plan.save(plan.build(settings, UNITS))
    assert cli.main(["propose", str(tmp_path / "run")]) == 2
    assert "pilot=4 measures first" in capsys.readouterr().err


def test_records_without_costs_are_read() -> None:
    """As they were written before costs were measured."""
    record = Record("scan", "00", 3, asked=("all",), outputs=())
    value = json.loads(json.dumps(asdict(record)))
    for name in ("cpu_s", "memory_gb", "resumed"):
        del value[name]
    assert Record.parse(value) == record
