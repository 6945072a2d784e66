"""Do one stage of a prepared run folder in this process, watched or until it dies.

    one_stage.py RUN STAGE                    print every file operation below RUN, one JSON list [event, path] a line
    one_stage.py RUN STAGE operation NUMBER   SIGKILL just before the NUMBER-th of them
    one_stage.py RUN STAGE size BYTES         die in the middle of writing the first file that is larger than that

Operations are Python's audit events: an open, a rename, a new folder, a removal. Parquet is written below Python, so
that a death in the middle of it is one by the file size limit, whose signal is as sudden as SIGKILL.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from hpc_curate import plan as plans
from hpc_curate.element.worker import Allocation, Element

WATCHED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}


def watch(run: Path, deadly: int | None) -> list[tuple[str, str]]:
    """The operations below `run` from now on; the `deadly`-th (from 0) is never done."""
    seen: list[tuple[str, str]] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in WATCHED and isinstance(arguments[0], str | os.PathLike) and str(arguments[0]).startswith(str(run)):
            if len(seen) == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append((event, str(arguments[0]).removeprefix(f"{run}/")))

    sys.addaudithook(hook)
    return seen


def limit_size(limit: int) -> None:
    """Of a file that this process writes; children set their own."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def main(run: Path, stage: str, how: str = "", number: str = "0") -> int:
    prepared = plans.load_latest(run)  # in the folder that it is a copy of
    plan = plans.build({**prepared.settings, "run_dir": str(run)}, prepared.units)
    seen = watch(run, int(number) if how == "operation" else None)
    if how == "size":
        limit_size(int(number))
    left = Element(plan, stage, Allocation()).run(range(plan.steps[stage].units))
    if not how:
        print("\n".join(json.dumps(operation) for operation in list(seen)))
    return left


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
