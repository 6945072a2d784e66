"""What is queued when Slurm lies, forgets, refuses, and loses answers and elements: nothing twice, nothing lost."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import config, run
from hpc_curate import plan as plans
from hpc_curate.cluster.slurm import Answer, Limits, Task
from hpc_curate.cluster.waves import Wave
from hpc_curate.errors import CurateError, SchedulerError, Superseded, Unanswered
from hpc_curate.io.paths import RunPaths
from hpc_curate.plan import Plan
from hpc_curate.run_folder import claims, submissions
from hpc_curate.run_folder.claims import Holder, Work
from hpc_curate.run_folder.submissions import RELAY, Submission
from hpc_curate.stage import Merge

UNITS = 7
MINUTE = 60.0
LIE = 0.15  # of each kind, for each question
LAUNCHES = 6  # while Slurm lies
ROUNDS = 60  # within which all is done, once it has stopped


class Died(BaseException):
    """The launching process was killed."""


@dataclass
class Job:
    """An array as it really is."""

    submission: Submission
    id: str
    after: tuple[str, ...]
    states: list[str]
    pickled: bool  # whether its elements find what they are to call

    def live(self) -> list[int]:
        return [index for index, state in enumerate(self.states) if state in ("PENDING", "RUNNING", "COMPLETING")]


@dataclass
class Cluster:
    """A scheduler that can lie, and the world behind it, which cannot.

    What it never does: hide a live element from both questions at once, or take longer than answer_s to accept a job.
    """

    plan: Plan
    random: random.Random
    most: Limits
    lying: bool = True
    now: float = 1e9
    jobs: dict[str, Job] = field(default_factory=dict)  # by name
    late: list[tuple[float, Submission, tuple[str, ...]]] = field(default_factory=list)
    done: set[tuple[str, int]] = field(default_factory=set)
    hidden: set[tuple[str, int]] = field(default_factory=set)  # by the last answer to the first question
    wave: type[Wave] = Wave
    doubles: list[str] = field(default_factory=list)

    # -- what the launcher asks -----------------------------------------------------------------------------------

    def limits(self) -> Limits:
        return self.most

    def queue(self) -> list[Task]:
        self._maybe_silent()
        tasks = list(self._tasks())
        self.hidden = {(task.name, task.index) for task in tasks if self._lies()}
        whole = {task.name for task in tasks if self._lies()}
        self.hidden |= {(task.name, task.index) for task in tasks if task.name in whole}
        return [task for task in tasks if not task.ended and (task.name, task.index) not in self.hidden]

    def recheck(self, names: Sequence[str], since: float) -> Answer:
        self._maybe_silent()
        tasks = [task for task in self._tasks() if task.name in names]
        if self._lies():  # accounting instead, and that is late
            return Answer(tuple(task for task in tasks if not self._lies()), complete=False)
        forgotten = [task for task in tasks if task.ended and self.lying and self.random.random() < 0.5]
        return Answer(tuple(task for task in tasks if task not in forgotten), complete=True)

    def submit(self, submission: Submission, after: Sequence[str]) -> str:
        self.now += 0.1  # a real sbatch takes a moment
        if self._lies():
            raise SchedulerError("sbatch: error: Slurm is sulking")
        if self._lies():
            self._die_or_raise()
        if self._lies():
            self.late.append((self.now + self.random.uniform(2, 4.9) * MINUTE, submission, tuple(after)))
            self._die_or_raise()
        job = self._accept(submission, tuple(after))
        if self._lies():
            self._die_or_raise()
        job.pickled = True
        return job.id

    def adopt(self, submission: Submission, job_id: str) -> None:
        assert self.jobs[submission.name].id == job_id
        self.jobs[submission.name].pickled = True

    def clock(self) -> float:
        return self.now

    def _lies(self) -> bool:
        return self.lying and self.random.random() < LIE

    def _maybe_silent(self) -> None:
        if self._lies():
            raise SchedulerError("slurm_load_jobs error: Unable to contact slurm controller")

    def _die_or_raise(self) -> None:
        raise Died if self.random.random() < 0.5 else Unanswered("sbatch: error: Socket timed out")

    # -- the world ------------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[Task]:
        for job in self.jobs.values():
            for index, state in enumerate(job.states):
                yield Task(job.id, index, job.submission.name, state)

    def _accept(self, submission: Submission, after: tuple[str, ...]) -> Job:
        count = len(submission.elements)
        assert count <= self.most.array_size
        if sum(len(job.live()) for job in self.jobs.values()) + count > self.most.submit_jobs:
            raise SchedulerError("sbatch: error: AssocMaxSubmitJobLimit")
        job = Job(submission, str(100 + len(self.jobs)), after, ["PENDING"] * count, pickled=False)
        mine = set(submission.units(range(count)))
        for other in self.jobs.values():
            twice = other.submission.work == submission.work and mine & other.submission.units(other.live())
            both_relays = submission.stage == other.submission.stage == RELAY and other.states == ["PENDING"]
            if twice or both_relays:
                self.doubles.append(f"{submission.name} and {other.submission.name}: {twice}")
        self.jobs[submission.name] = job
        return job

    def pass_time(self, launch: Callable[[Submission | None], None]) -> None:
        """A few minutes: some jobs are accepted at last, some elements run, die or come back."""
        self.now += self.random.uniform(1, 3) * MINUTE
        arrived = [one for one in self.late if one[0] <= self.now]
        self.late = [one for one in self.late if one[0] > self.now]
        for _, submission, after in arrived:
            try:
                self._accept(submission, after)
            except SchedulerError:
                continue
        for job in list(self.jobs.values()):
            waits = [other for other in self.jobs.values() if other.id in job.after and other.live()]
            for index in [] if waits else job.live():
                if self.random.random() < 0.6:
                    job.states[index] = self._run(job, index, launch)

    def _run(self, job: Job, index: int, launch: Callable[[Submission | None], None]) -> str:
        """The next state of an element."""
        if job.states[index] == "PENDING":
            return "RUNNING"
        fate = self.random.choice(("node fails", "requeued", "killed", "well", "well", "well"))
        if self.lying and fate in ("node fails", "requeued"):
            return {"node fails": "PENDING", "requeued": "COMPLETING"}[fate]
        if not job.pickled or (self.lying and fate == "killed"):
            return "FAILED"
        if job.submission.stage == RELAY:
            launch(job.submission)
        for unit in job.submission.elements[index]:
            if self._has_all(job.submission.stage, unit):
                self.done.add((job.submission.stage, unit))
        return "COMPLETED"

    def _has_all(self, stage: str, unit: int) -> bool:
        """Whether what a unit reads is done."""
        step = self.plan.steps[stage]
        for before in step.waits_for:
            alike = not isinstance(step.stage, Merge) and not isinstance(self.plan.steps[before].stage, Merge)
            units = [unit] if alike else range(self.plan.steps[before].units)
            if any((before, one) not in self.done for one in units):
                return False
        return True

    def missing(self, stage: str) -> list[int]:
        return [unit for unit in range(self.plan.steps[stage].units) if (stage, unit) not in self.done]


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    config.register()
    place = tmp_path_factory.mktemp("line")
    overrides = [f"input={place}", f"run_dir={place}", "launch=slurm", "stage=[scan,shots,gate,embed,dedup,select,cut]"]
    return plans.build(config.resolve(run.compose(overrides)), UNITS)


@pytest.fixture
def cluster(line: Plan) -> Iterator[Callable[..., Cluster]]:
    """Makes a cluster over a run folder of its own, in memory where there is such a place: records are flushed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:

        def make(seed: int = 0, array_size: int = 5, submit_jobs: int = 100, **more: Any) -> Cluster:
            own = replace(line, paths=RunPaths(Path(place) / str(seed)))
            return Cluster(own, random.Random(seed), Limits(array_size, submit_jobs), **more)

        yield make


def launch(cluster: Cluster, relayed: Submission | None = None) -> None:
    """What `run`, or a relay, does."""
    cluster.wave(cluster.plan, cluster, cluster.missing, relayed, clock=cluster.clock).queue()


def survive(cluster: Cluster, relayed: Submission | None = None) -> None:
    """The same, by somebody who tries again later."""
    try:
        launch(cluster, relayed)
    except (CurateError, Died):
        return


def live(cluster: Cluster, stage: str) -> list[int]:
    """The units of a stage in the queue."""
    mine = [job for job in cluster.jobs.values() if job.submission.stage == stage]
    return sorted(unit for job in mine for unit in job.submission.units(job.live()))


def play(cluster: Cluster) -> None:
    """A schedule: launches and time at random while Slurm lies, then until all is done."""
    for _ in range(LAUNCHES):
        survive(cluster)
        for _ in range(cluster.random.randrange(6)):
            cluster.pass_time(lambda relayed: survive(cluster, relayed))
    cluster.lying = False
    for _ in range(ROUNDS):
        if all(not cluster.missing(name) for name in cluster.plan.steps):
            return
        survive(cluster)
        for _ in range(5):
            cluster.pass_time(lambda relayed: survive(cluster, relayed))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seeds", [range(100), pytest.param(range(100, 1000), marks=pytest.mark.slow)])
def test_whatever_slurm_says_no_unit_is_queued_twice_and_none_is_lost(
    cluster: Callable[..., Cluster], seeds: range
) -> None:
    for seed in seeds:
        one = cluster(seed, array_size=random.Random(seed).randrange(2, 9), submit_jobs=seed % 30 + 3)
        play(one)
        assert one.doubles == [], f"seed {seed}"
        assert [name for name in one.plan.steps if one.missing(name)] == [], f"seed {seed}"


class AbsentIsOver(Wave):
    """Believes the first question."""

    def _in_doubt(self, submission: Submission) -> set[int]:
        return set()


class SilentIsOver(Wave):
    """Takes a second question that has no answer for a yes."""

    def _ask_again(self, doubted: Sequence[Submission]) -> None:
        for submission in doubted:
            self._known[submission.name] = submission


@pytest.mark.parametrize("careless", [AbsentIsOver, SilentIsOver])
def test_each_precaution_is_needed(cluster: Callable[..., Cluster], careless: type[Wave]) -> None:
    for seed in range(20):
        one = cluster(seed, submit_jobs=seed % 30 + 3, wave=careless)
        play(one)
        if one.doubles:
            return
    raise AssertionError(f"{careless.__name__} queues nothing twice: the schedules do not test it")


def honest(cluster: Callable[..., Cluster], **more: Any) -> Cluster:
    return cluster(lying=False, **more)


def test_what_fits_is_queued_stage_by_stage_and_a_relay_waits_for_the_first_array(
    cluster: Callable[..., Cluster],
) -> None:
    one = honest(cluster, submit_jobs=12)
    launch(one)
    assert (live(one, "scan"), live(one, "shots")) == (list(range(UNITS)), [0, 1, 2, 3])
    relays = [job for job in one.jobs.values() if job.submission.stage == RELAY]
    first = min(one.jobs.values(), key=lambda job: int(job.id))
    assert [job.after for job in relays] == [(first.id,)]
    assert sum(len(job.live()) for job in one.jobs.values()) == 12
    launch(one)
    assert [job.submission.stage for job in one.jobs.values()].count(RELAY) == 1


def test_the_next_wave_waits_for_what_it_reads_and_not_for_stragglers(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster, submit_jobs=5)
    launch(one)
    first = [job for job in one.jobs.values() if job.submission.stage == "scan"]
    for job in first[:2]:
        job.states = ["COMPLETED"]
        one.done |= {("scan", unit) for unit in job.submission.units([0])}
    launch(one)
    second = [job for job in one.jobs.values() if job.submission.stage == "scan"][len(first) :]
    assert [job.after for job in second] == [()]


def test_relays_alone_bring_the_line_to_its_end(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster, submit_jobs=6)
    launch(one)
    for _ in range(400):
        one.pass_time(lambda relayed: launch(one, relayed))
    # An element that dies without a word is queued by the next relay; after the last one, by whoever asks.
    while left := [name for name in one.plan.steps if one.missing(name)]:
        assert not any(live(one, name) for name in left)
        launch(one)
        for _ in range(100):
            one.pass_time(lambda relayed: launch(one, relayed))
    assert one.doubles == []


def test_a_relay_gives_up_on_units_that_never_get_done(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster, submit_jobs=4)
    bad = {"scan": {0, 1, 2, 3, 4}}
    has_all = one._has_all
    one._has_all = lambda stage, unit: unit not in bad.get(stage, ()) and has_all(stage, unit)  # type: ignore[method-assign]
    launch(one)
    for _ in range(1000):
        one.pass_time(lambda relayed: launch(one, relayed))
    assert not any(job.live() for job in one.jobs.values())
    tries = [unit for job in one.jobs.values() if job.submission.stage == "scan" for unit in job.submission.units([0])]
    assert all(one.plan.limits.attempts >= tries.count(unit) > 0 for unit in range(UNITS))
    assert {("scan", 5), ("scan", 6), ("shots", 5), ("shots", 6)} <= one.done


def test_a_relay_leaves_alone_what_somebody_has_cancelled(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster, submit_jobs=4)
    launch(one)
    first = next(job for job in one.jobs.values() if job.submission.stage == "scan")
    first.states = ["CANCELLED"] * len(first.states)
    gone = first.submission.units(range(len(first.states)))
    for _ in range(500):
        one.pass_time(lambda relayed: launch(one, relayed))
    assert [unit for unit in one.missing("scan")] == sorted(gone)
    launch(one)  # whoever asks again wants them
    assert live(one, "scan") == sorted(gone)


def test_a_job_whose_answer_was_lost_is_adopted_when_the_queue_shows_it(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster)
    record = submissions.prepare(one.plan, "scan", [(unit,) for unit in range(UNITS - 2)], created=one.now)
    one._accept(record, ())
    launch(one)
    adopted = submissions.read(one.plan.paths.submission(record.name))
    assert (adopted.job_id, one.jobs[record.name].pickled) == (one.jobs[record.name].id, True)
    assert live(one, "scan") == list(range(UNITS))


def test_a_submission_that_nobody_answered_for_is_waited_for_and_then_made_again(
    cluster: Callable[..., Cluster],
) -> None:
    one = honest(cluster)
    submissions.prepare(one.plan, "scan", [(unit,) for unit in range(UNITS)], created=one.now - 10)
    with pytest.raises(Unanswered, match="stage scan.* 290 s from now"):
        launch(one)
    assert one.jobs == {}  # what comes after it has no job to wait for
    one.now += one.plan.settings["launch"]["answer_s"] + 1
    launch(one)
    assert live(one, "scan") == list(range(UNITS))


def test_a_verdict_is_written_down_and_not_asked_for_again(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster)
    record = replace(submissions.prepare(one.plan, "scan", [(0,), (1,)], created=one.now), job_id="7")
    submissions.write(one.plan.paths, record)
    launch(one)
    assert submissions.read(one.plan.paths.submission(record.name)).over == (0, 1)
    one.recheck = lambda names, since: pytest.fail("asked again")  # type: ignore[method-assign]
    launch(one)
    assert live(one, "scan") == list(range(UNITS))


def test_a_launcher_that_was_stopped_past_its_lease_queues_nothing(cluster: Callable[..., Cluster]) -> None:
    one = honest(cluster)
    limits = one.most

    def overtaken() -> Limits:
        paths, lease_s = one.plan.paths, one.plan.limits.lease_s
        (mine,) = paths.claims("submissions", "queue", 0).glob("*.claim")
        os.utime(mine, (1, time.time() - 2 * lease_s))
        claims.take(paths, Work("submissions", "queue", 0), Holder(job="another"), lease_s)
        return limits

    one.limits = overtaken  # type: ignore[method-assign]
    with pytest.raises(Superseded, match="another"):
        launch(one)
    assert one.jobs == {} and submissions.every(one.plan.paths) == []
