"""Runs the toy line in forked processes, each with a fault; quick, because what they import is imported once.

Commands are JSON objects, a line each on stdin; answers are lines on stdout:

    {"start": RUN, "fault": NAME, "at": N, "off": SAFEGUARD, "lease_s": S, "restarts": N, "poison": N, "slow_s": S}
                                      -> its pid
    {"wait": PID, "stopped": bool}    -> how it ended: an exit code, -signal, or "stopped"

All but RUN may be left out. A fault strikes just before the N-th file operation below RUN, as Python's audit events
count them, or before the first that is [EVENT, PATTERN of its path]. At the number `poison` the process kills itself
whenever it comes to it; `slow_s` is how long the square of 1 takes.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import itertools
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc_curate.element import task, worker
from hpc_curate.element.worker import Allocation, Element, catch_signals
from hpc_curate.io import tables
from hpc_curate.run_folder import claims
from hpc_curate.run_folder.ledger import Attempt, Ledger

_spec = importlib.util.spec_from_file_location("toy_line", Path(__file__).with_name("toy_line.py"))
assert _spec and _spec.loader
toy: Any = importlib.util.module_from_spec(_spec)
sys.modules["toy_line"] = toy
_spec.loader.exec_module(toy)

_WEEK_S = 7 * 24 * 3600.0


def _signal(number: signal.Signals) -> Callable[[Path, int], None]:
    return lambda _run, _at: os.kill(os.getpid(), number)


def _error(number: int) -> Callable[[Path, int], None]:
    def fail(_run: Path, _at: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def _read_only(run: Path, at: int) -> None:
    """A folder of the run cannot be written any more; who recovers makes it writable again."""
    folders = sorted(path for path in run.glob("*/*") if path.is_dir())
    for folder in folders[at % len(folders) :] if folders else []:
        folder.chmod(0o555)


def _no_memory(_run: Path, _at: int) -> None:
    raise MemoryError


def _file_size(dies: bool) -> Callable[[Path, int], None]:
    """From here on a file ends at some byte: the write fails, or kills."""

    def limit(_run: Path, at: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dies else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 + at * 37 % 400, resource.RLIM_INFINITY))

    return limit


def _clock(jump_s: float) -> Callable[[Path, int], None]:
    def jump(_run: Path, _at: int) -> None:
        right = time.time
        time.time = lambda: right() + jump_s

    return jump


FAULTS: dict[str, Callable[[Path, int], None]] = {
    "killed": _signal(signal.SIGKILL),
    "told to end": _signal(signal.SIGTERM),
    "warned": _signal(signal.SIGUSR2),
    "interrupted": _signal(signal.SIGINT),
    "stopped": _signal(signal.SIGSTOP),
    "disk full": _error(errno.ENOSPC),
    "quota used up": _error(errno.EDQUOT),
    "input or output error": _error(errno.EIO),
    "stale handle": _error(errno.ESTALE),
    "no permission": _error(errno.EACCES),
    "folders read-only": _read_only,
    "out of memory": _no_memory,
    "killed in a write": _file_size(dies=True),
    "a write fails": _file_size(dies=False),
    "clock set back": _clock(-_WEEK_S),
    "clock set forward": _clock(_WEEK_S),
}


def strike(run: Path, name: str | None, at: int | list[str]) -> Iterator[int]:
    """Have the fault strike at its moment, once; the next number is one more than the operations so far."""
    count = itertools.count(1)
    struck = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal struck
        if event not in toy.WATCHED or not str(arguments[0]).startswith(f"{run}/"):
            return
        number = next(count)
        if struck or not name:
            return
        path = str(arguments[0]).removeprefix(f"{run}/")
        if number == at or (isinstance(at, list) and event == at[0] and re.fullmatch(at[1], path)):
            struck = True
            FAULTS[name](run, number)

    sys.addaudithook(hook)
    return count


# -- safeguards switched off ---------------------------------------------------------------------------------------


def _part_in_place(self: Any, stage: Any, part: Path, made: Any) -> None:
    schemas = stage.writes()
    part.mkdir(parents=True, exist_ok=True)
    for name, table in made.items():
        tables.write_table(part / f"{name}.parquet", table, schemas[name], stage.row_group.get(name))


def _torn_is_an_error(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _everybody_is_alone(folder: Path, work: Any, me: claims.Holder, lease_s: float) -> claims.Claim:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "0-1.claim"
    path.write_text("{}")
    return claims.Claim(work, folder, (0, 1), me, "")


_begin = Ledger.begin


def _begin_without_strikes(self: Ledger, claim: claims.Claim) -> Attempt:
    return replace(_begin(self, claim), strikes={})


@contextlib.contextmanager
def _blame_the_data(_what: str) -> Any:
    yield


def _square(poison: int | None = None, slow_s: float = 0.0) -> Callable[[int], int]:
    def square(value: int) -> int:
        if value == poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if value == 1:
            time.sleep(slow_s)
        return value * value

    return square


# The fault that only each of them survives stands in test_fault_matrix.py.
SAFEGUARDS: dict[str, list[tuple[Any, str, Any]]] = {
    "outputs are checked against their record": [(Ledger, "valid", lambda *_: True)],
    "parts appear whole": [(task.Task, "_write_part", _part_in_place)],
    "torn records are no records": [(tables, "read_json", _torn_is_an_error)],
    "one worker at a unit": [(claims, "_take", _everybody_is_alone), (claims.Claim, "check", lambda *_: None)],
    "claims are checked before publication": [(claims.Claim, "check", lambda *_: None)],
    "what the overtaken have not published is revoked": [(Element, "_revoke", lambda *_: None)],
    "leases are renewed": [(claims.Claim, "renewed", lambda *_: contextlib.nullcontext())],
    "leftovers are swept": [(Ledger, "sweep", lambda *_: None)],
    "deaths are laid at the item's door": [(Ledger, "begin", _begin_without_strikes)],
    "a broken machine blames no unit": [(module, "environment_faults", _blame_the_data) for module in (tables, worker)],
}


# -- the server ----------------------------------------------------------------------------------------------------


def line(run: Path, given: dict[str, Any]) -> int:
    """The whole line in this process; the exit code."""
    for owner, name, replacement in SAFEGUARDS.get(given.get("off") or "", []):
        setattr(owner, name, replacement)
    plan = toy.plan(run, lease_s=given.get("lease_s", 180.0))
    operations = strike(run, given.get("fault"), given.get("at", 0))
    allocation = Allocation("element", restarts=given["restarts"]) if "restarts" in given else Allocation()
    open_units = 0
    for name, step in plan.steps.items():
        element = Element(plan, name, allocation)
        if name == "squares":
            element._model.append(_square(given.get("poison"), given.get("slow_s", 0.0)))
        catch_signals(element, 5.0)
        open_units += element.run(range(step.units))
    print(next(operations) - 1)  # the last line of the log of a line that was not disturbed
    return int(open_units > 0)


def start(given: dict[str, Any]) -> int:
    run = Path(given["start"])
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = line(run, given)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(pid: int, stopped: bool) -> int | str:
    _, status = os.waitpid(pid, os.WUNTRACED if stopped else 0)
    return "stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for text in sys.stdin:
        command = json.loads(text)
        answer = start(command) if "start" in command else wait(command["wait"], command.get("stopped", False))
        print(json.dumps(answer), flush=True)
