"""Records of many units: folded, none is lost, hidden or old, whoever reads or folds beside."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from hpc_curate.io.paths import DoneFolder
from hpc_curate.run_folder import folds


@pytest.fixture
def done(tmp_path: Path) -> DoneFolder:
    folder = DoneFolder(tmp_path / "done")
    folder.folder.mkdir()
    return folder


def put(done: DoneFolder, units: range, revision: int = 1) -> None:
    for unit in units:
        publish(done.loose(unit), {"unit": unit, "revision": revision, "said": f"{unit}.{revision}"})


def publish(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def said(done: DoneFolder) -> dict[int, str]:
    return {unit: value["said"] for unit, value in folds.of_all(done, dict).items()}


def test_a_fold_holds_what_was_loose_and_a_later_revision_counts_wherever_it_lies(done: DoneFolder) -> None:
    put(done, range(300))
    folds.fold(done)
    assert list(tables_and_loose(done)) == [1, 0]
    put(done, range(100, 200), revision=2)
    put(done, range(5, 6), revision=3)
    folds.fold(done)
    put(done, range(150, 152), revision=3)
    expected = {unit: f"{unit}.{2 if 100 <= unit < 200 else 1}" for unit in range(300)}
    expected |= {5: "5.3", 150: "150.3", 151: "151.3"}
    assert said(done) == expected
    assert {unit: value["said"] for unit in (0, 5, 120, 150, 299) if (value := folds.of_unit(done, unit))} == {
        unit: expected[unit] for unit in (0, 5, 120, 150, 299)
    }
    assert folds.of_unit(done, 300) is None


def tables_and_loose(done: DoneFolder) -> tuple[int, int]:
    return len(done.folds()), len(list(done.folder.glob("*.json")))


def test_few_loose_records_stay_as_they_are(done: DoneFolder) -> None:
    put(done, range(10))
    folds.fold(done)
    assert tables_and_loose(done) == (0, 10)


def test_many_folds_become_one_again(done: DoneFolder) -> None:
    for start in range(0, 2000, 100):
        put(done, range(start, start + 100))
        folds.fold(done)
    assert tables_and_loose(done)[0] <= 9
    assert said(done) == {unit: f"{unit}.1" for unit in range(2000)}


def test_a_fold_that_was_killed_hides_nothing_and_the_next_one_takes_its_records(done: DoneFolder) -> None:
    put(done, range(100))
    killed = done.folding_of("dead")
    killed.mkdir(parents=True)
    for unit in range(50):
        done.loose(unit).rename(done.loose_in(killed, unit))
    put(done, range(1), revision=2)  # made anew after the kill
    assert said(done)[0] == "0.2" and len(said(done)) == 100
    folds.fold(done)
    assert said(done)[0] == "0.2" and len(said(done)) == 100
    assert not done.folding() and tables_and_loose(done) == (1, 0)


@pytest.mark.parametrize("torn", ["", '{"unit": 7, "rev', "[1, 2]", '{"unit": "7", "revision": 1}', "null"])
def test_what_is_torn_or_foreign_is_no_record(done: DoneFolder, torn: str) -> None:
    put(done, range(7))
    done.loose(7).write_text(torn)
    assert folds.of_unit(done, 7) is None
    assert sorted(folds.of_all(done, dict)) == list(range(7))


def test_readers_beside_folds_and_writers_see_every_record_at_every_moment(done: DoneFolder) -> None:
    put(done, range(200))
    stop, wrong = threading.Event(), []

    def folding() -> None:
        while not stop.is_set():
            folds.fold(done)

    def reading() -> None:
        while not stop.is_set():
            seen = folds.of_all(done, dict)
            one = folds.of_unit(done, 3)
            if set(range(200)) - set(seen) or one is None or one["revision"] > 1:
                wrong.append((len(seen), one))

    threads = [threading.Thread(target=work) for work in (folding, folding, reading)]
    for thread in threads:
        thread.start()
    for start in range(200, 2200, 80):
        put(done, range(start, start + 80))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(folds.of_all(done, dict)) == list(range(2200))


def test_the_fingerprint_changes_with_each_record(done: DoneFolder) -> None:
    seen = [folds.fingerprint(done)]
    for change in (
        lambda: put(done, range(100)),
        lambda: put(done, range(3, 4), revision=2),
        lambda: folds.fold(done),
        lambda: put(done, range(3, 4), revision=3),
    ):
        change()
        seen.append(folds.fingerprint(done))
        assert folds.fingerprint(done) == seen[-1]
    assert len(set(seen)) == len(seen)


def test_records_that_cannot_be_folded_stay_and_count(done: DoneFolder) -> None:
    put(done, range(100))
    done.folder.chmod(0o500)
    try:
        folds.fold(done)  # no error, even where it may not write
        assert len(folds.of_all(done, dict)) == 100
    finally:
        done.folder.chmod(0o700)
