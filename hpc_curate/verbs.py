"""What the verbs do, but for `run`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

from hpc_curate import accounting, books, jobs, launch, overview, slurm, submissions
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.io.export import write_rows
from hpc_curate.ledger import Ledger
from hpc_curate.nearest import nearest
from hpc_curate.report import text
from hpc_curate.state import State

_COMPLETION = """_hpc_curate() {
    local IFS=$'\\n'
    COMPREPLY=($(HPC_CURATE_COMPLETE="${COMP_LINE:0:$COMP_POINT}" hpc-curate completion bash))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -F _hpc_curate hpc-curate"""


def status(given: argparse.Namespace) -> int:
    """Print where a run stands."""
    seen = overview.look(plans.load_latest(given.run, given.plan))
    print(json.dumps(asdict(seen), indent=1) if given.json else overview.text(seen))
    return 0


def propose(given: argparse.Namespace) -> int:
    """Print what the rest should be given, from what is done."""
    from hpc_curate import evidence, proposal

    work, found = proposal.of_run(evidence.whole(given.run, given.plan), given.parallel)
    print(json.dumps([asdict(one) for one in found], indent=1) if given.json else proposal.text(work, found))
    return 0


def retry(given: argparse.Namespace) -> int:
    """Forgive the failures, then launch what is missing."""
    plan = plans.load_latest(given.run, given.plan)
    ledger = Ledger(plan.paths)
    state = State(plan, ledger)
    for name in given.stages:
        if name not in plan.steps:
            raise ConfigError(f"the plan has no stage '{name}'; {nearest(name, plan.steps)}")
    if all(state.done(name, unit) for name, step in plan.steps.items() for unit in range(step.units)):
        print("nothing to do: every unit is done. A video that failed is data; hpc-curate table --videos says why")
        return 0
    for name in given.stages or plan.steps:
        signature = state.signature(name) or plan.static_signature(name)
        for unit, attempt in ledger.attempts(name, signature).items():
            if attempt.failure in ("failed", "blocked"):
                ledger.forgive(name, signature, unit)
    launch.run(plan)
    return 0


def work(given: argparse.Namespace) -> int:
    """Do units of a saved plan in this process."""
    plan = plans.load_latest(given.run, given.plan)
    return jobs.work(plan, jobs.chosen(plan, given.stages, given.unit), given.unit)


def cancel(given: argparse.Namespace) -> int:
    """Cancel what this run has queued or running."""
    plan = plans.load_latest(given.run, given.plan)
    queued = [one for one in submissions.every(plan.paths) if not one.here]
    live = slurm.live(queued)
    slurm.cancel(live)
    print(f"cancelled {len(live)} arrays" if live else "nothing of this run is in the queue")
    return 0


def logs(given: argparse.Namespace) -> int:
    """Print the logs, each behind its path."""
    plan = plans.load_latest(given.run, given.plan)
    if given.stage is not None and given.stage not in plan.steps:
        raise ConfigError(f"the plan has no stage '{given.stage}'; {nearest(given.stage, plan.steps)}")
    if given.unit is not None and given.stage is None:
        raise ConfigError("--unit needs the stage before it: hpc-curate logs RUN scan --unit 7")
    files = overview.log_files(plan, given.stage, given.unit)
    for path in files:
        print(f"==> {path} <==")
        print(path.read_text(errors="replace"))
    if not files:
        print("no unit failed" if given.unit is None else "no log of this unit", file=sys.stderr)
    return 0


def funnel(given: argparse.Namespace) -> int:
    """Print what became of every video and clip."""
    plan = plans.load_latest(given.run, given.plan)
    print(text.funnel(accounting.funnel(books.read(plan))))
    return 0


def table(given: argparse.Namespace) -> int:
    """Write one row per clip or per video."""
    found = books.read(plans.load_latest(given.run, given.plan))
    rows = accounting.clip_rows(found)
    if given.videos:
        rows = accounting.video_rows(found, rows)
    write_rows(given.output, rows)
    print(f"{rows.num_rows} rows in {given.output}")
    return 0


def completion() -> int:
    """The script for bash; called by it, the completions of the line so far."""
    line = os.environ.get("HPC_CURATE_COMPLETE")
    if line is None:
        print(_COMPLETION)
        return 0
    from hpc_curate import complete

    print("\n".join(complete.candidates(line)))
    return 0
