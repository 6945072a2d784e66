"""The note on a merge's signature: trusted while everything is as it was, and never longer."""

from __future__ import annotations

import cProfile
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_run

from hpc_curate import units
from hpc_curate.element.worker import Allocation, Element
from hpc_curate.plan import Plan
from hpc_curate.run_folder import merged
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State, kept_hash

UNITS = 5


@pytest.fixture
def line(tmp_path: Path) -> Plan:
    """A run in which dedup and select are done."""
    synthetic_run.input_table(tmp_path / "videos.parquet", UNITS * synthetic_run.VIDEOS_PER_UNIT)
    plan: Plan = synthetic_run.planned(tmp_path)
    fill = synthetic_run.Synthetic(plan)
    fill.scored()
    fill.dedup()
    assert Element(plan, "select", Allocation()).run([0]) == 0
    return plan


def notes(plan: Plan, merge: str) -> list[Path]:
    return list(plan.paths.merged(merge, "any").parent.glob("*.json"))


def true_signature(plan: Plan, merge: str = "select") -> str | None:
    return State(plan, Ledger(plan.paths)).signature(merge)


def doctor(plan: Plan, signature: str) -> None:
    """Have the note name another signature: who answers with it has trusted the note."""
    (note,) = notes(plan, "select")
    note.write_text(json.dumps({**json.loads(note.read_text()), "signature": signature}))


def publish_again(plan: Plan, stage: str, unit: int, **changes: Any) -> None:
    """A unit that was made anew, with another outcome."""
    ledger = Ledger(plan.paths)
    record = ledger.record(stage, plan.static_signature(stage), unit)
    assert record
    new = replace(record, revision=record.revision + 1, **changes)
    ledger.paths.done(stage, record.signature, unit).write_text(json.dumps(asdict(new)))


def test_a_task_behind_a_merge_takes_the_merges_own_word(line: Plan) -> None:
    assert merged.signatures(line, "cut") == {name: true_signature(line, name) for name in ("dedup", "select")}
    doctor(line, "taken from the note")
    assert merged.signatures(line, "cut")["select"] == "taken from the note"
    assert merged.signatures(line, "embed") == {}


def test_a_record_that_changes_voids_the_note_and_the_next_look_renews_it(line: Plan) -> None:
    before = true_signature(line)
    doctor(line, "old")
    publish_again(line, "gate", 3, errors=1)
    found = merged.signatures(line, "cut")["select"]
    # dedup has not been made of the new record, so nobody can say which select it will be.
    assert found is None and true_signature(line) is None and before is not None
    synthetic_run.Synthetic(line).dedup()
    after = merged.signatures(line, "cut")["select"]
    assert after == true_signature(line) != before
    doctor(line, "taken from the note")
    assert merged.signatures(line, "cut")["select"] == "taken from the note"


def test_a_record_that_came_while_the_others_were_read_voids_the_note(line: Plan) -> None:
    state = State(line, Ledger(line.paths))
    assert state.signature("dedup")
    publish_again(line, "embed", 2, errors=1)
    merged.note(state, "dedup")
    assert merged.signatures(line, "select")["dedup"] == true_signature(line, "dedup") != state.signature("dedup")


@pytest.mark.parametrize("text", ["", '{"signature": "abc"', "[]", "null", '{"signature": "abc"}', '{"seen": 3}', None])
def test_a_note_that_is_torn_foreign_or_missing_is_not_trusted(line: Plan, text: str | None) -> None:
    (note,) = notes(line, "select")
    if text is None:
        note.unlink()
    else:
        note.write_text(text)
    assert merged.signatures(line, "cut")["select"] == true_signature(line)
    assert json.loads(note.read_text())["signature"] == true_signature(line)


def test_folding_voids_the_note_and_costs_one_look(line: Plan) -> None:
    doctor(line, "old")
    done = line.paths.done_folder("shots", line.static_signature("shots"))
    done.folding_of("somebody").mkdir(parents=True)
    done.loose(2).rename(done.loose_in(done.folding_of("somebody"), 2))
    assert merged.signatures(line, "cut")["select"] == true_signature(line)


def test_new_units_and_another_question_have_notes_of_their_own(line: Plan, tmp_path: Path) -> None:
    doctor(line, "old")
    stricter: Plan = synthetic_run.planned(tmp_path, ("stage.select.rules.motion.min=0.05",))
    assert merged.signatures(stricter, "cut")["select"] == true_signature(stricter)
    tolerant: Plan = synthetic_run.planned(tmp_path, ("limits.allow_failed_units=true",))
    assert merged.signatures(tolerant, "cut")["select"] == true_signature(tolerant)
    synthetic_run.input_table(tmp_path / "videos.parquet", (UNITS + 1) * synthetic_run.VIDEOS_PER_UNIT)
    larger: Plan = synthetic_run.planned(tmp_path)
    assert larger.units == UNITS + 1
    assert merged.signatures(larger, "cut") == {"dedup": None, "select": None}


def test_a_run_folder_that_cannot_be_written_is_looked_at_without_a_note(line: Plan) -> None:
    (note,) = notes(line, "select")
    note.unlink()
    note.parent.chmod(0o500)
    try:
        assert merged.signatures(line, "cut")["select"] == true_signature(line)
    finally:
        note.parent.chmod(0o700)


def test_what_a_killed_writer_of_a_note_has_left_is_swept(line: Plan) -> None:
    merged.signatures(line, "cut")
    (note,) = notes(line, "select")
    left = note.with_name(f".{note.name}.host-1.tmp")
    left.write_text("{")
    Ledger(line.paths).sweep("select", true_signature(line, "select"))
    assert note.exists() and not left.exists()


def test_a_merge_sees_that_other_rows_have_an_error_though_they_are_as_many(line: Plan) -> None:
    signatures = []
    for which in ("of one clip", "of another", "of one clip"):
        publish_again(line, "embed", 0, errors=1, in_error=which)
        signatures.append(true_signature(line, "dedup"))
    assert signatures[0] == signatures[2] != signatures[1]


def test_a_record_of_an_earlier_version_counts_its_errors(line: Plan) -> None:
    publish_again(line, "embed", 0, errors=2)
    path = line.paths.done("embed", line.static_signature("embed"), 0)
    value = json.loads(path.read_text())
    before = true_signature(line, "dedup")
    del value["in_error"]
    path.write_text(json.dumps(value))
    record = Ledger(line.paths).record("embed", line.static_signature("embed"), 0)
    assert record and record.failures == 2
    assert true_signature(line, "dedup") == before


def test_a_record_says_which_rows_have_an_error(prepared: Any) -> None:
    plan = prepared("stage=[scan,shots]", "unit.videos=2", units=2)  # of which none is a video
    assert Element(plan, "scan", Allocation()).run([0]) == 0
    record = Ledger(plan.paths).record("scan", plan.static_signature("scan"), 0)
    assert record and record.errors == 2
    assert record.in_error == kept_hash(units.all_videos(plan.paths)["video_id"].to_pylist())


def test_units_that_wait_for_a_merge_look_at_everything_once_together(line: Plan) -> None:
    publish_again(line, "gate", 3, errors=1)  # dedup is to be made anew

    def looks(count: int) -> int:
        with cProfile.Profile() as profile:
            assert Element(line, "cut", Allocation()).run(range(count)) == count
        return sum(entry.callcount for entry in profile.getstats() if entry.code is Ledger.records.__code__)

    assert looks(UNITS) == looks(1) > 0


def test_a_task_says_which_of_its_own_units_is_in_its_way(line: Plan) -> None:
    for unit in (1, 2):
        line.paths.done("scan", line.static_signature("scan"), unit).unlink()
    state = State(line, Ledger(line.paths), one_by_one=True)
    assert state.in_the_way("shots", 1) == ["scan: units 1 are missing (0 failed)"]
    everything = State(line, Ledger(line.paths))
    assert everything.in_the_way("dedup", 0)[0] == "shots: units 1, 2 are missing (0 failed)"
