"""Every kind of fault, at seeded moments: nothing lost, nothing twice, nothing torn, and the same bytes in the end.

Each case is a line of its own in forked processes (fault_server.py), disturbed once and then done again as a user
would. The second half switches the safeguards off, one after another: each time a fault must do harm.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SERVER = Path(__file__).with_name("fault_server.py")
QUICK, ALL = 3, 50  # seeds of a kind of fault
ENOUGH = 40  # seeds in which a fault must do harm once, when its safeguard is off
TRIES = 4

ERRORS = (
    "disk full",
    "quota used up",
    "input or output error",
    "stale handle",
    "no permission",
    "folders read-only",
    "a write fails",
)
DEATHS = ("killed", "killed in a write", "out of memory")
WORDS = ("told to end", "warned", "interrupted")
CLOCKS = ("clock set back", "clock set forward")
RECORDS = ("torn record", "empty record", "torn attempt", "short output", "lost output")
TOGETHER = ("two at once", "stopped and overtaken", "killed and requeued")
NOBODYS_FAULT = (*ERRORS[:5], *WORDS, *CLOCKS, "killed and requeued")
KINDS = (*ERRORS, *DEATHS, *WORDS, *CLOCKS, *RECORDS, *TOGETHER)


class Harm(AssertionError):
    """A promise was broken."""


@dataclass
class Server:
    """Starts lines and waits for them."""

    process: subprocess.Popen[str]
    computed: Path

    def ask(self, **command: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, run: Path, **given: Any) -> int:
        return int(self.ask(start=str(run), **given))

    def wait(self, pid: int, stopped: bool = False) -> Any:
        return self.ask(wait=pid, stopped=stopped)

    def run(self, run: Path, **given: Any) -> Any:
        return self.wait(self.start(run, **given))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    computed = tmp_path_factory.mktemp("computed") / "lines"
    environment = {**os.environ, "COMPUTED": str(computed)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, SERVER], **pipes, text=True, env=environment) as process:
        yield Server(process, computed)
        assert process.stdin
        process.stdin.close()


@dataclass(frozen=True)
class Undisturbed:
    published: dict[str, bytes]
    computed: Counter[str]
    operations: int


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    server.computed.unlink(missing_ok=True)
    assert server.run(run) == 0
    operations = int(Path(f"{run}.log").read_text().splitlines()[-1])
    found = Undisturbed(published(run), computed(server), operations)
    assert set(found.computed.values()) == {1} and found.operations > 100
    return found


def published(run: Path) -> dict[str, bytes]:
    files = run.glob("*/*/*.parquet")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def records(run: Path) -> dict[str, dict[str, Any]]:
    return {str(path.relative_to(run)): json.loads(path.read_text()) for path in run.glob("*/*/done/*.json")}


def leftovers(run: Path) -> list[str]:
    """Of the stages that a merge has waited for and swept."""
    places = (".*", "parts/*", "attempts/*", "done/.*", "claims/*")
    swept = [path for stage in ("odd", "squares") for place in places for path in run.glob(f"{stage}/*/{place}")]
    return [str(path.relative_to(run)) for path in swept]


def computed(server: Server) -> Counter[str]:
    return Counter(server.computed.read_text().splitlines()) if server.computed.exists() else Counter()


@dataclass
class Case:
    """One disturbed line."""

    server: Server
    undisturbed: Undisturbed
    run: Path
    seed: random.Random
    given: dict[str, Any] = field(default_factory=dict)  # to every process of it, such as a safeguard that is off
    moment: list[str] | None = None  # of the fault; None: any
    disturbed: bool = False
    again: int = 1  # how often at most anything may have been computed

    def play(self, kind: str) -> None:
        """Disturb, recover, look.

        Raises:
            Harm: a promise was broken.
        """
        self.server.computed.unlink(missing_ok=True)
        if kind in RECORDS:
            self._damage(kind)
        elif kind == "two at once":
            self._together()
        elif kind == "stopped and overtaken":
            self._overtake()
        else:
            self._strike("killed" if kind == "killed and requeued" else kind, kind.endswith("requeued"))
        self._recover()
        self._look(kind)

    def _at(self) -> int | list[str]:
        return self.moment or self.seed.randint(1, self.undisturbed.operations)

    def _strike(self, fault: str, requeued: bool) -> None:
        given = {**self.given, **({"restarts": 0} if requeued else {})}
        code = self.server.run(self.run, fault=fault, at=self._at(), **given)
        self.disturbed = code != 0 or fault in CLOCKS
        self.again = 2
        for folder in [path for path in self.run.glob("*/*") if path.is_dir()]:
            folder.chmod(0o755)
        if requeued:
            self.server.run(self.run, restarts=1, **self.given)

    def _damage(self, kind: str) -> None:
        if kind == "torn attempt":
            self._strike("killed", False)
            victims = [*self.run.glob("*/*/attempts/*.json"), *self.run.glob("*/*/claims/*/*.claim")]
        else:
            self.server.run(self.run, **self.given)
            what = "done/*.json" if kind.endswith("record") else "*.parquet"
            victims = sorted(self.run.glob(f"*/*/{what}"))
            victims = self.seed.sample(victims, min(2, len(victims)))
            self.disturbed, self.again = True, 3  # what came before is asked again
        for victim in victims:
            if kind == "lost output":
                victim.unlink()
            else:
                before = victim.stat()
                os.truncate(victim, 0 if kind == "empty record" else self.seed.randrange(before.st_size))
                os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _together(self) -> None:
        workers = [self.server.start(self.run, **self.given) for _ in range(3)]
        codes = [self.server.wait(worker) for worker in workers]
        self.disturbed = True
        # One may come to a unit whose input another is still at; that is no failure of the line.
        if not set(codes) <= {0, 1}:
            raise Harm(f"exit codes {codes}")

    def _overtake(self) -> None:
        """Stopped past its lease; another does the line; then it goes on."""
        given = {"lease_s": 0.3, **self.given}
        late = self.server.start(self.run, fault="stopped", at=self._at(), **given)
        if self.server.wait(late, stopped=True) != "stopped":
            return
        self.disturbed, self.again = True, 2
        self.server.run(self.run, **given)
        before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in self.run.glob("*/*/done/*.json")}
        os.kill(late, signal.SIGCONT)
        self.server.wait(late)
        after = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before if path.exists()}
        if before != after:
            raise Harm("a worker that was overtaken has published")

    def _recover(self) -> None:
        given = {**self.given, "lease_s": self.given.get("lease_s", 0.3)}
        for _ in range(TRIES):
            if self.server.run(self.run, **given) == 0:
                return
        raise Harm(f"not done after {TRIES} more runs: {Path(f'{self.run}.log').read_text()[-600:]}")

    def _look(self, kind: str) -> None:
        if published(self.run) != self.undisturbed.published:
            raise Harm("other bytes than those of an undisturbed run")
        if left := leftovers(self.run):
            raise Harm(f"left behind: {left}")
        if len(records(self.run)) != 3 + 3 + 3 + 1:
            raise Harm(f"records: {sorted(records(self.run))}")
        often = [f"{what} x {times}" for what, times in computed(self.server).items() if times > self.again]
        if often:
            raise Harm(f"computed too often: {often}")
        if kind in NOBODYS_FAULT and any(record["attempt"] > 1 for record in records(self.run).values()):
            raise Harm("a fault of the machine was laid at the door of a unit")


@pytest.mark.parametrize("seeds", [QUICK, pytest.param(ALL, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(1200)
def test_a_disturbed_line_ends_as_an_undisturbed_one(
    kind: str, seeds: int, server: Server, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    disturbed = 0
    for seed in range(seeds):
        case = Case(server, undisturbed, tmp_path / f"{seed}", random.Random(f"{kind} {seed}"))
        try:
            case.play(kind)
        except Harm as harm:
            raise AssertionError(f"seed {seed}: {harm}") from harm
        disturbed += case.disturbed
    assert disturbed > seeds / 4, "the fault hardly ever struck"


# A safeguard, and the fault that does harm without it.
LOAD_BEARING = {
    "outputs are checked against their record": "short output",
    "parts appear whole": "killed in a write",
    "torn records are no records": "torn record",
    "one worker at a unit": "two at once",
    "claims are checked before publication": "stopped and overtaken",
    "leftovers are swept": "killed",
    "a broken machine blames no unit": "disk full",
}


@pytest.mark.parametrize("safeguard", LOAD_BEARING)
@pytest.mark.timeout(600)
def test_without_its_safeguard_a_fault_does_harm(
    safeguard: str, server: Server, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    kind = LOAD_BEARING[safeguard]
    for seed in range(ENOUGH):
        moments = random.Random(f"{kind} {seed}")
        case = Case(server, undisturbed, tmp_path / f"{seed}", moments, {"off": safeguard})
        try:
            case.play(kind)
        except Harm:
            return
    pytest.fail(f"'{kind}' did no harm in {ENOUGH} runs without the safeguard")


@pytest.mark.parametrize("off", [None, "what the overtaken have not published is revoked"])
def test_one_stopped_between_the_check_of_its_claim_and_the_rename_publishes_nothing(
    off: str | None, server: Server, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    case = Case(server, undisturbed, tmp_path / "run", random.Random(), {"off": off})
    case.moment = ["os.rename", r"total/.*/done/.*"]  # of the last stage: no merge sweeps behind it
    if off is None:
        case.play("stopped and overtaken")
        assert case.disturbed
    else:
        with pytest.raises(Harm, match="has published"):
            case.play("stopped and overtaken")


@pytest.mark.parametrize("off", [None, "leases are renewed"])
def test_a_slow_worker_that_lives_is_not_relieved(
    off: str | None, server: Server, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    # With renewals no pause of a busy machine may be as long as a lease; without, it has to be over before the work is.
    lease_s, slow_s = (12.0, 15.0) if off is None else (0.5, 5.0)
    given = {"off": off, "slow_s": slow_s, "lease_s": lease_s}
    case = Case(server, undisturbed, tmp_path / "run", random.Random(), given)
    if off is None:
        case.play("two at once")
    else:
        with pytest.raises(Harm, match="computed too often"):
            case.play("two at once")


@pytest.mark.parametrize("off", [None, "deaths are laid at the item's door"])
def test_an_item_that_kills_its_workers_stops_nobody_for_long(off: str | None, server: Server, tmp_path: Path) -> None:
    codes = [server.run(tmp_path / "run", poison=5, off=off) for _ in range(5)]
    if off is None:
        assert codes == [-signal.SIGKILL] * 3 + [0, 0]
        assert "quarantined" in str(pq.read_table(next(tmp_path.glob("run/squares/*/00000.parquet")))["error"])
    else:
        assert 0 not in codes
