"""Of any number of workers one is at a unit, and who was overtaken can publish nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from hpc_curate.errors import Claimed, Superseded
from hpc_curate.io import tables
from hpc_curate.io.paths import RunPaths
from hpc_curate.run_folder import claims
from hpc_curate.run_folder.claims import Claim, Holder, Work
from hpc_curate.run_folder.ledger import Ledger, Record

WORK = Work("scan", "5160a7", 7)
FORK: Any = multiprocessing.get_context("fork")


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path)


def take(paths: RunPaths, job: str = "8", restarts: int = 0, lease_s: float = 60.0, **who: Any) -> Claim:
    return claims.take(paths, who.pop("work", WORK), replace(Holder(job, restarts), **who), lease_s)


def files(paths: RunPaths) -> list[Path]:
    return sorted(paths.claims("scan", "5160a7", 7).iterdir())


def not_renewed_for(paths: RunPaths, seconds: float) -> None:
    """Set the time of the only claim back."""
    (path,) = files(paths)
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))


# -- one of many -----------------------------------------------------------------------------------------------------


def together(count: int, work: Callable[[int], None]) -> None:
    """Do it in several processes at once."""
    processes = [FORK.Process(target=work, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=250)
    assert [process.exitcode for process in processes] == [0] * count


@pytest.mark.parametrize("before", ["nobody", "one that died", "one that was not heard of", "one that has released it"])
def test_of_workers_that_claim_at_the_same_moment_one_wins(before: str, paths: RunPaths, tmp_path: Path) -> None:
    rounds, workers = 100, 4
    barrier, winners = FORK.Barrier(workers), tmp_path / "winners"
    for unit in range(rounds) if before != "nobody" else ():
        gone = {"started": "0"} if before == "one that died" else {"boot": "of another machine"}
        claim = take(paths, "7", work=replace(WORK, unit=unit), **gone)
        if before == "one that has released it":
            claim.release()
        (path,) = paths.claims("scan", "5160a7", unit).glob("*.claim")
        if before == "one that was not heard of":
            os.utime(path, (1e9, 1e9))

    def worker(number: int) -> None:
        for unit in range(rounds):
            barrier.wait(120)
            try:
                claim = take(paths, work=replace(WORK, unit=unit))
            except Claimed:
                continue
            claim.check()
            with winners.open("a") as file:
                file.write(f"{unit}\n")
        barrier.wait(120)  # who ends is relieved

    together(workers, worker)
    assert sorted(map(int, winners.read_text().split())) == list(range(rounds))
    assert len(list(tmp_path.rglob("*.claim"))) == rounds
    assert list(tmp_path.rglob("*.tmp")) == []


def test_workers_that_claim_release_and_publish_are_never_two_at_a_unit(paths: RunPaths, tmp_path: Path) -> None:
    inside, entered, record = tmp_path / "inside", tmp_path / "entered", tmp_path / "record"
    record.write_text("0")

    def worker(number: int) -> None:
        left = 25
        while left:
            try:
                claim = take(paths, work=replace(WORK, revision=int(record.read_text())))
            except Claimed:
                time.sleep(0.001)
                continue
            try:
                claim.check()
            except Superseded:  # it read the record so long ago that another's later claim was there, for a moment
                claim.release()
                continue
            inside.open("x").close()  # fails if another is inside
            with entered.open("a") as file:
                file.write(f"{number}\n")
            if left % 2:
                tables.write_text(record, str(int(record.read_text()) + 1))
            inside.unlink()
            claim.remove() if left % 2 else claim.release()
            left -= 1

    together(4, worker)
    assert len(entered.read_text().split()) == 100


# -- who may be relieved ---------------------------------------------------------------------------------------------


def test_a_living_worker_is_left_alone_and_named(paths: RunPaths) -> None:
    first = take(paths, "8_3", host="n1")
    with pytest.raises(Claimed, match="scan unit 7: job 8_3 on n1 is at it"):
        take(paths, "9")
    first.check()
    assert len(files(paths)) == 1


def test_a_process_that_has_ended_on_this_machine_is_relieved_at_once(paths: RunPaths) -> None:
    process = subprocess.Popen(["sleep", "60"])
    take(paths, "7", pid=process.pid, started=claims._started(process.pid))
    with pytest.raises(Claimed):
        take(paths)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    second = take(paths, "8", pid=process.pid, started=Holder("").started)
    assert second.found == "dead"  # although nobody has waited for it
    process.wait()
    third = take(paths)
    assert (third.found, third.holder.takeovers, third.holder.before) == ("dead", 0, ())


def test_another_process_of_the_same_number_is_not_taken_for_it(paths: RunPaths) -> None:
    take(paths, "7", started="1")
    assert take(paths).found == "dead"


@pytest.mark.parametrize("where", [{"boot": "of another machine"}, {"pid_namespace": 1}])
def test_of_another_machine_or_container_only_the_lease_counts(where: dict[str, Any], paths: RunPaths) -> None:
    first = take(paths, "7", started="0", **where)
    with pytest.raises(Claimed):
        take(paths)
    not_renewed_for(paths, 20)
    with pytest.raises(Claimed):
        take(paths)
    not_renewed_for(paths, 41)
    second = take(paths)
    assert (second.found, second.holder.takeovers, second.holder.before) == ("lapsed", 1, (first.token,))
    assert len(files(paths)) == 1


def test_what_a_clock_says_does_not_matter(paths: RunPaths) -> None:
    """The lease is measured between two files; a claim holds no time that could be compared with a clock."""
    take(paths, "7", boot="of another machine")
    (path,) = files(paths)
    value = json.loads(path.read_text())
    assert not [name for name in value if name.endswith(("_s", "_at", "time", "began", "deadline"))]
    path.write_text(json.dumps({**value, "started": "-99999999999999"}))
    with pytest.raises(Claimed):
        take(paths)
    not_renewed_for(paths, 61)
    assert take(paths).found == "lapsed"


def test_a_job_that_was_started_again_takes_its_own_claim_back(paths: RunPaths) -> None:
    where = {"boot": "of another machine"}
    first = take(paths, "8_3", **where)
    for job, restarts in (("8_3", 0), ("8_4", 1)):
        with pytest.raises(Claimed):
            take(paths, job, restarts, **where)
    second = take(paths, "8_3", 1, **where)
    assert (second.found, second.holder.takeovers) == ("requeued", 0)
    assert second.holder.before == (first.token,)  # it may still run on a node that is only cut off


def test_a_worker_that_ended_in_order_is_not_waited_for(paths: RunPaths) -> None:
    take(paths, "7", boot="of another machine").release()
    second = take(paths)
    assert (second.found, second.holder.takeovers, second.holder.before) == ("released", 0, ())


def test_a_claim_torn_by_a_crash_is_held_until_its_lease_is_over(paths: RunPaths) -> None:
    take(paths)
    (path,) = files(paths)
    path.write_text("")
    with pytest.raises(Claimed):
        take(paths)
    not_renewed_for(paths, 61)
    assert take(paths).found == "lapsed"


def test_takeovers_are_counted_over_all_that_were_relieved(paths: RunPaths) -> None:
    tokens = []
    for number in range(3):
        claim = take(paths, f"{number}", boot="of another machine")
        tokens.append(claim.token)
        not_renewed_for(paths, 61)
    assert (claim.holder.takeovers, claim.holder.before) == (2, tuple(tokens[:2]))


def test_a_lease_is_renewed_while_its_worker_is_at_the_unit(paths: RunPaths) -> None:
    claim = take(paths, "7", boot="of another machine")
    not_renewed_for(paths, 1000)
    (path,) = files(paths)
    before = path.stat().st_mtime
    with claim.renewed(lease_s=0.6):
        eventually(lambda: path.stat().st_mtime > before + 900)
        with pytest.raises(Claimed):
            take(paths)
    not_renewed_for(paths, 1000)
    time.sleep(0.3)
    assert take(paths).found == "lapsed"


# -- who was relieved ------------------------------------------------------------------------------------------------


def test_who_was_overtaken_is_told_by_whom(paths: RunPaths) -> None:
    first = take(paths)
    second = take(paths, "9", host="n2", lease_s=-1)
    with pytest.raises(Superseded, match="scan unit 7: taken over by job 9 on n2"):
        first.check()
    second.check()
    second.remove()
    with pytest.raises(Superseded, match="a worker that has ended"):
        first.check()


def test_nothing_remains_of_a_unit_that_is_done(paths: RunPaths) -> None:
    take(paths)
    claim = take(paths, lease_s=-1)
    claim.remove()
    claim.release()
    assert not paths.claims("scan", "5160a7", 7).exists()


def test_a_later_publication_has_later_claims(paths: RunPaths) -> None:
    """A taker that was slow for so long finds its claim to be history."""
    take(paths, "7", boot="of another machine")
    not_renewed_for(paths, 61)
    later = take(paths, work=replace(WORK, revision=1))
    assert [path.name for path in files(paths)] == ["1-1.claim"]
    later.check()


class TakenOver:
    """A claim that is taken over right after its check, the worst moment there is."""

    def __init__(self, paths: RunPaths, claim: Claim) -> None:
        self._paths, self._claim, self.token = paths, claim, claim.token
        self.other: Claim | None = None

    def check(self) -> None:
        self._claim.check()
        if self.other is None:
            self.other = take(self._paths, "another", lease_s=-1)
            outputs = [self._paths.rows("scan", "5160a7", 7)]
            Ledger(self._paths).revoke(self.other, outputs)


def test_between_check_and_rename_a_record_is_published_by_the_other_only(paths: RunPaths) -> None:
    ledger, record = Ledger(paths), Record("scan", "5160a7", 7, ("asked",), ())
    with pytest.raises(Superseded, match="job another"):
        ledger.mark(record, TakenOver(paths, take(paths)))  # type: ignore[arg-type]
    assert ledger.record("scan", "5160a7", 7) is None


def test_between_check_and_rename_an_output_is_published_by_the_other_only(paths: RunPaths) -> None:
    path = paths.rows("scan", "5160a7", 7)
    with pytest.raises(Superseded, match="job another"):
        tables.write_text(path, "of the one that was overtaken", TakenOver(paths, take(paths)))
    assert list(path.parent.glob("*.parquet*")) == list(path.parent.glob(".*")) == []


def test_the_last_worker_revokes_all_that_may_still_run(paths: RunPaths) -> None:
    """Also what one before it was killed before it could revoke."""
    first = take(paths, "7")
    left = tables.temporary_name(paths.rows("scan", "5160a7", 7), first.token)
    take(paths, "8", lease_s=-1)
    last = take(paths, "9", lease_s=-1)
    left.write_text("to be renamed")
    Ledger(paths).revoke(last, [paths.rows("scan", "5160a7", 7)])
    assert not left.exists()
