"""A line of five stages without video: numbers -> odd (a filter) -> squares (by item) -> total (a merge).

Run as a script it does the whole line in this process:

    toy_line.py RUN               to its end
    toy_line.py RUN kill NUMBER   until it kills itself just before its NUMBER-th file operation below RUN
    toy_line.py RUN stop EVENT PATTERN LEASE_S   it stops itself (SIGSTOP) just before the first such operation

Operations are Python's audit events: an open, a rename, a link, a new folder, a removal; PATTERN is a regular
expression for the path below RUN. What is computed is written down, a line each, in the file that the environment
variable COMPUTED names.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hpc_curate.element.worker import Allocation, Element
from hpc_curate.errors import BadInput
from hpc_curate.io.paths import RunPaths
from hpc_curate.plan import Plan, Step
from hpc_curate.stage import Filter, Item, Merge, PerUnit, Resources

UNITS, PER_UNIT = 3, 8
WATCHED = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}


@dataclass(frozen=True)
class Numbers(PerUnit):
    """Eight numbers a unit."""

    name: ClassVar[str] = "numbers"

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": pa.schema([("clip_id", pa.string()), ("start_pts", pa.int64())])}

    def process(self, model: Any, inputs: Any, item: Item) -> dict[str, pa.Table]:
        write_down("numbers", inputs.unit)
        values = range(inputs.unit * PER_UNIT, (inputs.unit + 1) * PER_UNIT)
        return {"rows": pa.table({"clip_id": [f"v{value}_{value}_{value}" for value in values], "start_pts": values})}


@dataclass(frozen=True)
class Odd(Filter, PerUnit):
    """Keeps every `step`-th number that is odd."""

    name: ClassVar[str] = "odd"
    keep_column: ClassVar[str] = "odd_keep"
    above: int = 0

    def reads(self) -> tuple[str, ...]:
        return ("start_pts",)

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": pa.schema([("clip_id", pa.string()), ("odd_keep", pa.bool_())])}

    def process(self, model: Any, inputs: Any, item: Item) -> dict[str, pa.Table]:
        write_down("odd", inputs.unit)
        clips = inputs.clips(["start_pts"])
        keep = [value % 2 == 1 and value >= self.above for value in clips["start_pts"].to_pylist()]
        return {"rows": pa.table({"clip_id": clips["clip_id"], "odd_keep": keep})}


@dataclass(frozen=True)
class Squares(PerUnit):
    """Squares of what is kept, two numbers an item; the number 13 is bad."""

    name: ClassVar[str] = "squares"
    incremental: ClassVar[bool] = True
    row_group: ClassVar[dict[str, int]] = {"pictures": 1}

    def reads(self) -> tuple[str, ...]:
        return ("start_pts",)

    def writes(self) -> dict[str, pa.Schema]:
        rows = pa.schema([("clip_id", pa.string()), ("square", pa.int64()), ("error", pa.string())])
        return {"rows": rows, "pictures": pa.schema([("clip_id", pa.string()), ("picture", pa.large_binary())])}

    def load(self, resources: Resources) -> Any:
        return lambda value: value * value

    def items(self, inputs: Any, asked: Sequence[str]) -> Iterable[Item]:
        return [Item(asked[at], tuple(asked[at : at + 2])) for at in range(0, len(asked), 2)]

    def process(self, model: Any, inputs: Any, item: Item) -> dict[str, pa.Table]:
        write_down("squares", inputs.unit, item.key)
        values = inputs.clips(["start_pts"], item.ids)["start_pts"].to_pylist()
        if 13 in values:
            raise BadInput("13 is bad")
        rows = {"clip_id": list(item.ids), "square": [model(value) for value in values], "error": [None] * len(values)}
        pictures = {"clip_id": list(item.ids), "picture": [bytes([value % 256]) * 1000 for value in values]}
        schemas = self.writes()
        return {"rows": pa.table(rows, schemas["rows"]), "pictures": pa.table(pictures, schemas["pictures"])}

    def failed(self, item: Item, error: str) -> dict[str, pa.Table]:
        rows = [{"clip_id": clip, "error": error} for clip in item.ids]
        return {"rows": pa.Table.from_pylist(rows, schema=self.writes()["rows"])}


@dataclass(frozen=True)
class Total(Merge):
    """The sum of all squares, and the bytes of all pictures."""

    name: ClassVar[str] = "total"

    def reads(self) -> tuple[str, ...]:
        return ("square", "pictures")

    def writes(self) -> dict[str, pa.Schema]:
        return {"total": pa.schema([("sum", pa.int64()), ("clips", pa.int64()), ("bytes", pa.int64())])}

    def run(self, model: Any, inputs: Any) -> dict[str, pa.Table]:
        write_down("total", inputs.unit)
        squares = inputs.clips(["square"])["square"].to_pylist()
        pictures = inputs.table("pictures")["picture"].to_pylist()
        row = {"sum": sum(s or 0 for s in squares), "clips": len(squares), "bytes": sum(map(len, pictures))}
        return {"total": pa.Table.from_pylist([row], schema=self.writes()["total"])}


def write_down(*computed: Any) -> None:
    """One line, whoever else writes: what is computed twice is there twice."""
    if "COMPUTED" in os.environ:
        with Path(os.environ["COMPUTED"]).open("a") as file:
            print(*computed, file=file)


def plan(run: Path, above: int = 0, **limits: Any) -> Plan:
    """The line over three units."""
    stages = {stage.name: stage for stage in (Numbers(), Odd(above), Squares(), Total())}
    upstream = {"numbers": (), "odd": ("numbers",), "squares": ("numbers",), "total": ("squares",)}
    filters = {"squares": "odd", "total": "odd"}
    steps = {
        name: Step(stage, Resources(), upstream[name], filters.get(name), 1 if name == "total" else UNITS)
        for name, stage in stages.items()
    }
    writers = {"start_pts": "numbers", "odd_keep": "odd", "square": "squares", "pictures": "squares", "total": "total"}
    defaults = {"attempts": 3, "allow_failed_units": False, "bad_rows": 20, "bad_share": 0.5}
    settings = {"limits": {**defaults, **limits}, "source": {}, "input": str(run), "launch": {"kind": "inline"}}
    return Plan("toy", RunPaths(run), settings, UNITS, steps, writers)


def do(line: Plan, *names: str) -> dict[str, int]:
    """Run stages one after another; how many units of each were left open."""
    return {name: Element(line, name, Allocation()).run(range(line.steps[name].units)) for name in names or line.steps}


def signal_itself(run: Path, number: signal.Signals, when: Callable[[str, str], bool]) -> None:
    """Send this process a signal just before the first file operation below `run` for which `when(event, path)`."""
    sent = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal sent
        if sent or event not in WATCHED or not str(arguments[0]).startswith(f"{run}/"):
            return
        if when(event, str(arguments[0]).removeprefix(f"{run}/")):
            sent = True
            os.kill(os.getpid(), number)

    sys.addaudithook(hook)


def main(run: Path, how: str = "", *given: str) -> int:
    limits = {}
    if how == "kill":
        count = itertools.count(1)
        signal_itself(run, signal.SIGKILL, lambda *_: next(count) == int(given[0]))
    if how == "stop":
        limits["lease_s"] = float(given[2])
        signal_itself(
            run, signal.SIGSTOP, lambda event, path: event == given[0] and re.fullmatch(given[1], path) is not None
        )
    return sum(do(plan(run, **limits)).values())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
