"""The worker's promises, on a line without video: nothing lost, nothing twice, whatever kills it."""

from __future__ import annotations

import errno
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from waiting import eventually

from hpc_curate.element.worker import Allocation, Element
from hpc_curate.errors import EnvironmentFault, Preempted
from hpc_curate.run_folder import claims
from hpc_curate.run_folder.ledger import Ledger, Record
from hpc_curate.run_folder.state import State

SCRIPT = Path(__file__).with_name("toy_line.py")
_spec = importlib.util.spec_from_file_location("toy_line", SCRIPT)
assert _spec and _spec.loader
toy: Any = importlib.util.module_from_spec(_spec)
sys.modules["toy_line"] = toy
_spec.loader.exec_module(toy)

SUM = sum(value * value for value in range(1, 24, 2)) - 13 * 13 - 15 * 15  # 13 and the other of its item are bad


def total(run: Path, line: Any = None) -> dict[str, int]:
    line = line or toy.plan(run)
    state = State(line, Ledger(line.paths))
    record = state.done("total", 0)
    assert record is not None
    return pq.read_table(state.ledger.outputs(record, "total")[0]).to_pylist()[0]


def published(run: Path) -> dict[str, bytes]:
    """Every published table, by its path; the proof that two runs are the same."""
    files = run.glob("*/*/*.parquet")
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.parent.name != "done"}


def leftovers(run: Path) -> list[str]:
    """Temporary files, parts and attempts that nobody needs any more."""
    found = [*run.glob("*/*/.*"), *run.glob("*/*/parts/*"), *run.glob("*/*/attempts/*"), *run.glob("*/*/done/.*")]
    found += run.glob("*/*/claims/*")
    return [str(path.relative_to(run)) for path in found]


def claim(line: Any, stage: str, signature: str, lease_s: float) -> claims.Claim:
    """As another worker would claim the first unit of a stage."""
    return claims.take(line.paths, claims.Work(stage, signature, 0), claims.Holder("another job"), lease_s)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("undisturbed")
    assert toy.do(toy.plan(run)) == {"numbers": 0, "odd": 0, "squares": 0, "total": 0}
    assert total(run) == {"sum": SUM, "clips": 12, "bytes": 10_000}
    return published(run)


def test_a_second_run_does_nothing(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    toy.do(toy.plan(tmp_path))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    toy.do(toy.plan(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == times


@pytest.mark.parametrize(
    "operations",
    [sorted(random.Random(7).sample(range(1, 250), 24)), pytest.param(range(1, 400), marks=pytest.mark.slow)],
)
@pytest.mark.timeout(3600)
def test_killed_at_a_file_operation_it_resumes_to_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], operations: Sequence[int]
) -> None:
    killed = 0
    for number in operations:
        run = tmp_path / f"{number}"
        run.mkdir()
        first = subprocess.run([sys.executable, SCRIPT, run, "kill", str(number)], capture_output=True)
        killed += first.returncode == -9
        again = subprocess.run([sys.executable, SCRIPT, run], capture_output=True, text=True)
        assert again.returncode == 0, f"killed at {number}: {again.stderr}"
        assert published(run) == undisturbed, f"killed at {number}"
        if first.returncode == 0:
            break
    assert killed >= 10


def test_a_torn_ledger_record_is_no_proof(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    toy.do(toy.plan(tmp_path))
    records = sorted(tmp_path.glob("squares/*/done/*.json"))
    records[0].write_text(records[0].read_text()[:40])
    records[1].write_text("")
    toy.do(toy.plan(tmp_path))
    assert published(tmp_path) == undisturbed


def test_an_output_of_another_size_is_made_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    toy.do(toy.plan(tmp_path))
    victim = next(tmp_path.glob("squares/*/00001.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1])
    toy.do(toy.plan(tmp_path))
    assert published(tmp_path) == undisturbed


def test_a_looser_filter_computes_only_the_difference(tmp_path: Path) -> None:
    strict, loose = toy.plan(tmp_path, above=10), toy.plan(tmp_path, above=0)
    toy.do(strict)
    assert total(tmp_path, strict)["clips"] == 7
    first = next(tmp_path.glob("squares/*/00001.parquet"))
    before = first.stat().st_mtime_ns
    toy.do(loose)
    assert first.stat().st_mtime_ns == before
    assert next(tmp_path.glob("squares/*/00001.2.parquet")).exists()
    # 13 shared its item with 11 and not with 15 when it was asked for first; what was computed is not computed again.
    assert total(tmp_path, loose) == {"sum": SUM + 15 * 15 - 11 * 11, "clips": 12, "bytes": 10_000}
    assert total(tmp_path, strict)["clips"] == 7  # the first question keeps its answer
    records = Ledger(loose.paths).records("squares", loose.static_signature("squares"))
    assert records[1].resumed  # what it cost is not what the unit costs


def test_a_stage_whose_input_is_missing_is_blocked_and_no_attempt_is_counted(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    assert toy.do(line, "squares") == {"squares": 3}
    attempts = Ledger(line.paths).attempts("squares", line.static_signature("squares"))
    assert {attempt.failure for attempt in attempts.values()} == {"blocked"}
    assert {attempt.attempts for attempt in attempts.values()} == {0}
    assert sum(toy.do(line).values()) == 0


def test_a_merge_refuses_to_start_on_part_of_its_input(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    Element(line, "squares", Allocation()).run([0, 2])
    assert toy.do(line, "total") == {"total": 1}
    attempt = Ledger(line.paths).attempts("total", line.static_signature("total"))[0]
    assert "squares: units 1 are missing" in attempt.message


def test_a_stop_between_items_keeps_what_is_finished(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    element = Element(line, "squares", Allocation())

    def stop_in_the_first_item(value: int) -> int:
        element.stopped = "SIGTERM" if value >= 3 else ""
        return value * value

    element._model.append(stop_in_the_first_item)
    with pytest.raises(Preempted):
        element.run([0, 1, 2])
    kept = list(tmp_path.glob("squares/*/parts/00000/*/*"))
    assert len(kept) == 1
    attempt = Ledger(line.paths).attempts("squares", line.static_signature("squares"))[0]
    assert (attempt.failure, attempt.attempts) == ("preempted", 0)
    toy.do(line)
    assert published(tmp_path) == undisturbed
    assert leftovers(tmp_path) == []
    records = Ledger(line.paths).records("squares", line.static_signature("squares"))
    assert {unit for unit, record in records.items() if record.resumed} == {0}


def test_a_worker_that_was_overtaken_publishes_nothing(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    element = Element(line, "squares", Allocation())
    signature = line.static_signature("squares")

    def overtaken(value: int) -> int:
        claim(line, "squares", signature, lease_s=-1.0)
        return value * value

    element._model.append(overtaken)
    element.run([0])
    assert element.ledger.record("squares", signature, 0) is None
    assert list(tmp_path.glob("squares/*/*.parquet")) == []


def test_a_worker_that_was_overtaken_and_fails_leaves_the_word_to_the_other(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    element = Element(line, "squares", Allocation())
    signature = line.static_signature("squares")
    others = []

    def overtaken(value: int) -> int:
        others.append(claim(line, "squares", signature, lease_s=-1.0))
        element.ledger.begin(others[0])
        raise OSError("a failure of the one that was overtaken")

    element._model.append(overtaken)
    with pytest.raises(OSError, match="overtaken"):
        element.run([0])
    others[0].check()
    assert element.ledger.attempt("squares", signature, 0).failure is None


def test_an_item_that_kills_its_worker_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    line = toy.plan(tmp_path, attempts=2, lease_s=0.2)
    toy.do(line, "numbers", "odd")
    ledger, signature = Ledger(line.paths), line.static_signature("squares")
    for _ in range(2):
        died = claim(line, "squares", signature, lease_s=-1.0)
        ledger.working_on(died, ledger.begin(died), "v1_1_1")
    assert Element(line, "squares", Allocation()).run([0]) == 0
    record = ledger.record("squares", signature, 0)
    assert record is not None and record.errors == 2
    rows = pq.read_table(ledger.outputs(record, "rows")[0]).to_pylist()
    assert [row["square"] for row in rows] == [None, None, 25, 49]
    assert "quarantined" in rows[0]["error"]


def test_a_bug_stops_the_task_with_its_traceback(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    element = Element(line, "squares", Allocation())
    element._model.append(lambda value: value.nonsense)
    with pytest.raises(AttributeError):
        element.run([0, 1])
    attempt = element.ledger.attempt("squares", line.static_signature("squares"), 0)
    assert (attempt.failure, attempt.attempts) == ("failed", 1)
    assert "nonsense" in attempt.message


def test_folding_loses_no_record_and_leaves_few_files(tmp_path: Path) -> None:
    ledger = Ledger(toy.plan(tmp_path).paths)
    for unit in range(200):
        ledger.mark(Record("squares", "s", unit, ("asked",), (), rows=unit))
    ledger.fold("squares", "s")
    ledger.mark(Record("squares", "s", 7, ("asked", "more"), (), rows=1000, revision=2))
    records = ledger.records("squares", "s")
    assert sorted(records) == list(range(200))
    assert [records[unit].rows for unit in (6, 7, 8)] == [6, 1000, 8]
    assert ledger.record("squares", "s", 3) == records[3]
    assert len([path for path in (tmp_path / "squares/s/done").rglob("*") if path.is_file()]) == 2


def test_a_fold_that_was_killed_hides_no_record(tmp_path: Path) -> None:
    ledger = Ledger(toy.plan(tmp_path).paths)
    for unit in range(100):
        ledger.mark(Record("squares", "s", unit, ("asked",), ()))
    folder = tmp_path / "squares/s/done"
    stranded = folder / "folding" / "dead"
    stranded.mkdir(parents=True)
    for path in list(folder.glob("*.json"))[:60]:
        path.rename(stranded / path.name)
    assert len(ledger.records("squares", "s")) == 100
    ledger.fold("squares", "s")
    assert len(ledger.records("squares", "s")) == 100
    assert not stranded.exists()


# Where a worker can be while it is at the second unit of a stage; the file operation that it is stopped before.
MOMENTS = {
    "when it has claimed the unit": ("os.remove", r"squares/\w+/claims/00001/\.\w+\.tmp"),
    "when an item is computed": ("os.mkdir", r"squares/\w+/parts/00001/\w+/\..*"),
    "between two parts": ("os.rename", r"squares/\w+/attempts/\.00001.*"),
    "before the check of an output": ("open", r"squares/\w+/\.00001\..*tmp"),
    "between check and rename of an output": ("os.rename", r"squares/\w+/\.00001\..*tmp"),
    "before the check of the record": ("open", r"squares/\w+/done/\.00001\..*tmp"),
    "between check and rename of the record": ("os.rename", r"squares/\w+/done/\.00001\..*tmp"),
    "between check and rename of a merge's record": ("os.rename", r"total/\w+/done/\.00000\..*tmp"),
}
LEASE_S = 1.0


def takeovers(run: Path) -> list[int]:
    """Of every unit of the line."""
    line = toy.plan(run)
    state = State(line, Ledger(line.paths))
    return [state.done(name, unit).takeovers for name, step in line.steps.items() for unit in range(step.units)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_stopped_past_its_lease_and_continued_later_publishes_nothing(
    moment: str, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    event, pattern = MOMENTS[moment]
    worker = subprocess.Popen(
        [sys.executable, SCRIPT, tmp_path, "stop", event, pattern, str(LEASE_S)], stderr=subprocess.PIPE, text=True
    )
    _, status = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    # The other waits for the lease, takes over and does the rest.
    assert sum(toy.do(toy.plan(tmp_path, lease_s=LEASE_S)).values()) == 0
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    worker.send_signal(signal.SIGCONT)
    _, said = worker.communicate(timeout=120)
    assert worker.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files
    assert published(tmp_path) == undisturbed
    assert sorted(takeovers(tmp_path)) == [0] * 9 + [1]


@pytest.mark.parametrize("workers", [2, 4])
def test_of_workers_started_at_once_each_unit_is_done_by_one(
    workers: int, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    run, computed = tmp_path / "run", tmp_path / "computed"
    run.mkdir()
    environment = {**os.environ, "COMPUTED": str(computed)}
    started = [subprocess.Popen([sys.executable, SCRIPT, run], env=environment) for _ in range(workers)]
    assert [worker.wait(timeout=120) for worker in started] == [0] * workers
    lines = computed.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 3 + 3 + 6 + 1
    assert takeovers(run) == [0] * 10
    assert published(run) == undisturbed
    assert leftovers(run) == []


def test_a_worker_that_died_is_relieved_at_once_on_its_machine(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    event, pattern = MOMENTS["between two parts"]
    worker = subprocess.Popen([sys.executable, SCRIPT, tmp_path, "stop", event, pattern, "180"])
    os.waitpid(worker.pid, os.WUNTRACED)
    worker.kill()  # nobody has waited for it yet
    began = time.monotonic()
    assert sum(toy.do(toy.plan(tmp_path)).values()) == 0
    assert time.monotonic() - began < 60
    worker.wait()
    assert published(tmp_path) == undisturbed
    assert takeovers(tmp_path) == [0] * 10


def test_a_worker_that_waits_for_another_stops_when_it_is_told_to(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    claim(line, "numbers", line.static_signature("numbers"), lease_s=180)
    element = Element(line, "numbers", Allocation())

    def time_is_up() -> None:
        eventually(lambda: list(tmp_path.glob("numbers/*/done/00001.json")))
        element.allocation = Allocation(deadline=time.time())

    thread = threading.Thread(target=time_is_up)
    thread.start()
    with pytest.raises(Preempted, match="walltime"):
        element.run([0, 1])
    thread.join()
    assert sorted(path.name for path in tmp_path.glob("numbers/*/done/*")) == ["00001.json"]


# How the last worker ended, who comes now, and whether the death is laid at the unit's door.
ENDS = {
    "another job comes": ("lost", Allocation("9"), 1),
    "its job was started again": ("lost", Allocation("another job", restarts=1), 0),
    "another job was started again": ("lost", Allocation("9", restarts=1), 1),
    "it ended in order, and could not say why": ("released", Allocation("9"), 0),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_death_counts_unless_the_scheduler_or_a_full_disk_explains_it(case: str, tmp_path: Path) -> None:
    how, allocation, deaths = ENDS[case]
    line = toy.plan(tmp_path, lease_s=0.2)
    signature = line.static_signature("numbers")
    last = claim(line, "numbers", signature, lease_s=0.2)
    Ledger(line.paths).begin(last)
    if how == "released":
        last.release()
    assert Element(line, "numbers", allocation).run([0]) == 0
    record = Ledger(line.paths).record("numbers", signature, 0)
    assert record is not None and record.attempt == 1 + deaths


MACHINE = [
    *(OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO)),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES), "run/numbers/done"),
    RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA driver initialization failed, you might not have a CUDA gpu."),
    Exception("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 999: unknown error ; GPU=0 ; hostname=n1"),
]


@pytest.mark.parametrize("error", MACHINE, ids=str)
def test_a_fault_of_the_machine_stops_the_task_and_blames_neither_item_nor_unit(
    error: Exception, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    element = Element(line, "squares", Allocation())

    def broken(value: int) -> int:
        raise error

    element._model.append(broken)
    with pytest.raises(EnvironmentFault, match="squares unit 0"):
        element.run([0, 1, 2])
    attempts = element.ledger.attempts("squares", line.static_signature("squares"))
    (attempt,) = attempts.values()  # the units after it were not begun
    assert (attempt.failure, attempt.attempts, attempt.strikes) == ("environment", 0, {})
    assert attempt.host == socket.gethostname()
    toy.do(line)
    assert published(tmp_path) == undisturbed


def test_a_gpu_without_enough_memory_is_no_broken_machine(tmp_path: Path) -> None:
    line = toy.plan(tmp_path)
    toy.do(line, "numbers", "odd")
    element = Element(line, "squares", Allocation())

    def too_large(value: int) -> int:
        raise RuntimeError("CUDA error: out of memory")

    element._model.append(too_large)
    with pytest.raises(RuntimeError, match="out of memory"):
        element.run([0])
    attempt = element.ledger.attempt("squares", line.static_signature("squares"), 0)
    assert (attempt.failure, attempt.attempts) == ("failed", 1)
