"""Who is at a unit: one small file per claim, made exclusively, with a lease that its worker renews.

A claim is `claims/<unit>/<revision>-<generation>.claim`: publications of the unit so far, and how often it was claimed
since. It is made by link(2), which fails if the name is there, and is taken over by making the next generation the same
way, so that of any number of takers one wins. The winner then removes the older ones. No name is ever used twice, so
nothing that is done late can be mistaken for something new, and no lock is needed that a network file system may not
keep.

**A lease is measured by the file server**: the time of a file written just now, less the time of the last renewal in
the same folder. Clocks of the machines do not enter, except where a file system takes its times from them (Lustre):
there clocks that differ by more than a lease cost computing twice, or waiting, and nothing else.

**Nothing is published by a worker that was overtaken**, wherever it was stopped. It writes a temporary file that
carries its token, then checks its claim, then renames. Who takes over removes the claim, then the temporary files of
that token, then looks at the record. Either the check sees the first, or the rename finds nothing to rename, or it
came before the look, and then the unit is done. What stays open: files that a stage publishes by itself (tars,
uploads, the report) may be replaced after a takeover, by the same bytes; and a network file system that answers the
look from a cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import Claimed, Superseded
from hpc_curate.io.paths import RunPaths
from hpc_curate.run_folder import privacy

_NAME = re.compile(r"(\d+)-(\d+)\.claim")
_RENEWALS = 6  # per lease: some may be late
_TRIES = 50  # against others who claim and tidy up at the same moment
_ENDED_AT = 0  # the time of a claim whose worker has said that it is no longer at the unit

Number = tuple[int, int]  # revision, generation


@dataclass(frozen=True)
class Work:
    """What is claimed: a unit of a stage, and how often it has been published."""

    stage: str
    signature: str
    unit: int
    revision: int = 0

    def __str__(self) -> str:
        return f"{self.stage} unit {self.unit}"


@cache
def _boot() -> str:
    """One for each start of a machine, containers on it included."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@cache
def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> str | None:
    """When a process was started, in ticks since the boot; "ended" of one that nobody has waited for; None: unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # /proc may hide the processes of others
    return "ended" if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class Holder:
    """A worker, as its claim tells of it: enough to find out on its own machine whether it still runs."""

    job: str
    restarts: int = 0  # of the job, by the scheduler
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    host: str = field(default_factory=socket.gethostname)
    user: str = field(default_factory=privacy.me)
    boot: str = field(default_factory=_boot)
    pid_namespace: int = field(default_factory=_pid_namespace)
    pid: int = field(default_factory=os.getpid)
    started: str | None = field(default_factory=lambda: _started(os.getpid()))
    before: tuple[str, ...] = ()  # tokens of those that it was taken over from and that may still run
    takeovers: int = 0  # how often it was taken over from one that was not known to have ended

    @classmethod
    def parse(cls, value: dict[str, object]) -> Holder:
        return cls(**{**value, "before": tuple(value["before"])})  # type: ignore[arg-type]

    def is_dead(self) -> bool:
        """Whether it is known to run no more; of another machine or container nothing is known."""
        if (self.boot, self.pid_namespace) != (_boot(), _pid_namespace()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # of another user: it runs
        return _started(self.pid) not in (None, self.started)


@dataclass(frozen=True)
class Claim:
    """Held by this process, until `check` says otherwise."""

    work: Work
    folder: Path
    number: Number
    holder: Holder
    found: str  # what became of the claim before it: released, dead, requeued, lapsed; "": there was none

    @property
    def token(self) -> str:
        return self.holder.token

    @property
    def _path(self) -> Path:
        return _path(self.folder, self.number)

    def check(self) -> None:
        """Before anything is published. The claim is opened anew, which a network file system has to look up.

        Raises:
            Superseded: another worker has claimed the unit since.
        """
        mine, newest = _holder(self._path), max(_numbers(self.folder), default=None)
        if mine == self.holder and newest == self.number:
            return
        other = _holder(_path(self.folder, newest)) if newest else None
        by = f"job {other.job} on {other.host}" if other else "a worker that has ended"
        raise Superseded(f"{self.work}: taken over by {by}")

    @contextmanager
    def renewed(self, lease_s: float) -> Iterator[None]:
        """Renew the lease from a thread of its own while the context lasts."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(lease_s / _RENEWALS):
                with contextlib.suppress(OSError):  # overtaken: `check` tells; or the server is away: it will be back
                    os.utime(self._path)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def release(self) -> None:
        """Nobody need wait for this worker any more. It takes no space on a full disk."""
        with contextlib.suppress(OSError):
            os.utime(self._path, (_ENDED_AT, _ENDED_AT))

    def remove(self) -> None:
        """The unit is done: no claim is needed. A merge sweeps what cannot be removed."""
        with contextlib.suppress(OSError):
            for number in _numbers(self.folder):
                if number <= self.number:
                    _path(self.folder, number).unlink(missing_ok=True)
            for left in self.folder.glob(".*.tmp"):  # a living taker makes another one
                left.unlink(missing_ok=True)
            self.folder.rmdir()


def take(paths: RunPaths, work: Work, me: Holder, lease_s: float) -> Claim:
    """Claim a unit.

    Raises:
        Claimed: another worker is at it, as far as can be known.
        EnvironmentFault: the file system is at fault.
    """
    folder = paths.claims(work.stage, work.signature, work.unit)
    with environment_faults(str(folder), ours=True):
        for _ in range(_TRIES):
            try:
                return _take(folder, work, me, lease_s)
            except (FileExistsError, FileNotFoundError):
                continue  # another was quicker, or tidied up: look again
    raise Claimed(f"{work}: many workers claim it at the same moment")


def at_work(paths: RunPaths, work: Work, lease_s: float) -> bool:
    """Whether somebody seems to be at a unit, for who only looks: by the clock of this machine, writing nothing."""
    folder = paths.claims(work.stage, work.signature, work.unit)
    numbers = _numbers(folder)
    try:
        holder, renewed_at = _read(_path(folder, max(numbers))) if numbers else (None, 0.0)
    except FileNotFoundError:
        return False
    return time.time() - renewed_at <= lease_s and not (holder and holder.is_dead())


def _take(folder: Path, work: Work, me: Holder, lease_s: float) -> Claim:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{me.token}.tmp"
    try:
        temporary.touch()
        now = temporary.stat().st_mtime  # before the look at the other: a pause between them makes it younger
        older = sorted(_numbers(folder))
        number, found = (work.revision, 1), ""
        if older:
            other, renewed_at = _read(_path(folder, older[-1]))
            found = _what_became_of(other, me, renewed_at, now - renewed_at > lease_s)
            if not found:
                raise Claimed(f"{work}: {f'job {other.job} on {other.host}' if other else 'another worker'} is at it")
            number = max(number, (older[-1][0], older[-1][1] + 1))
            me = _after(me, other, found)
        with temporary.open("w") as file:
            json.dump(asdict(me), file)
            file.flush()
            os.fsync(file.fileno())
        _link(temporary, _path(folder, number), me)
    finally:
        temporary.unlink(missing_ok=True)
    if set(_numbers(folder)) - {*older, number}:
        # Another claims the next publication, or this one came so late that what it was judged by is history.
        _path(folder, number).unlink(missing_ok=True)
        raise FileExistsError
    for past in older:
        _path(folder, past).unlink(missing_ok=True)
    return Claim(work, folder, number, me, found)


def _what_became_of(other: Holder | None, me: Holder, renewed_at: float, lapsed: bool) -> str:
    """Why a claim may be taken over; "" if it may not."""
    if renewed_at == _ENDED_AT:
        return "released"
    if other and other.job == me.job and other.restarts < me.restarts:
        return "requeued"
    if other and other.is_dead():
        return "dead"
    return "lapsed" if lapsed else ""


def _after(me: Holder, other: Holder | None, found: str) -> Holder:
    if other is None:
        return replace(me, takeovers=int(found == "lapsed"))
    may_run = (other.token,) if found in ("requeued", "lapsed") else ()
    return replace(me, before=other.before + may_run, takeovers=other.takeovers + (found == "lapsed"))


def _link(temporary: Path, path: Path, me: Holder) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        if _read(path)[0] != me:  # else it is ours: a network file system repeats a request whose answer was lost
            raise


def _path(folder: Path, number: Number) -> Path:
    return folder / "{}-{}.claim".format(*number)


def _numbers(folder: Path) -> list[Number]:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return [(int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(name))]


def _holder(path: Path) -> Holder | None:
    try:
        return _read(path)[0]
    except FileNotFoundError:
        return None


def _read(path: Path) -> tuple[Holder | None, float]:
    """Who holds a claim, and when it was renewed; opened first, so that a network file system asks for the time."""
    with path.open() as file:
        text, renewed_at = file.read(), os.fstat(file.fileno()).st_mtime
    try:
        return Holder.parse(json.loads(text)), renewed_at
    except (TypeError, ValueError, KeyError):
        return None, renewed_at  # torn by a crash of the machine: only its lease counts
