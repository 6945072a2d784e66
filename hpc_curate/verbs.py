"""What the verbs do, but for `run`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from hpc_curate import jobs, run
from hpc_curate import plan as plans
from hpc_curate.cluster import processes, slurm
from hpc_curate.errors import ConfigError
from hpc_curate.io.export import write_rows
from hpc_curate.monitoring import causes, logfiles, overview, retrying, row_errors, standing, watch
from hpc_curate.nearest import nearest
from hpc_curate.plural import counted, listed
from hpc_curate.report import asked, progress, sweep
from hpc_curate.report import funnel as funnels
from hpc_curate.run_folder import accounting, books, privacy, submissions
from hpc_curate.sources import fetched

_COMPLETION = """_hpc_curate() {
    local IFS=$'\\n'
    COMPREPLY=($(HPC_CURATE_COMPLETE="${COMP_LINE:0:$COMP_POINT}" hpc-curate completion bash))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -F _hpc_curate hpc-curate"""


def status(given: argparse.Namespace) -> int:
    """Print where a run stands; with --watch until it has ended, whose exit code says how."""
    plan = plans.load_latest(given.run, given.plan)
    privacy.apply(plan.settings)  # it folds records
    if not given.watch:
        seen = overview.look(plan)
        print(json.dumps(asdict(seen), indent=1) if given.json else progress.text(seen))
        return 0
    patience = watch.Patience()
    seen = watch.watch(lambda: overview.look(plan, standing.queue(plan, patience.live)), sys.stdout)
    return int(seen.state != overview.DONE)


def propose(given: argparse.Namespace) -> int:
    """Print what the rest should be given, from what is done."""
    from hpc_curate.planning import evidence, proposal

    work, found = proposal.of_run(evidence.whole(given.run, given.plan), given.parallel)
    print(json.dumps([asdict(one) for one in found], indent=1) if given.json else proposal.text(work, found))
    return 0


def retry(given: argparse.Namespace) -> int:
    """Say what is tried again, class by class; then forgive, raise what was too little, and launch what is missing."""
    plan = plans.load_latest(given.run, given.plan)
    plans.refuse_copy(plan)
    privacy.apply(plan.settings)
    for name in given.stages:
        if name not in plan.steps:
            raise ConfigError(f"the plan has no stage '{name}'; {nearest(name, plan.steps)}")
    found = retrying.decide(plan, given.stages or list(plan.steps), given.kind, given.factor)
    print(retrying.text(found), flush=True)
    if not given.dry_run and not found.is_idle:
        run.log_to_stdout()
        retrying.do(found)
        if "fetch" in plan.steps and found.plan.settings["launch"]["kind"] in ("inline", "local"):
            run.what_came(found.plan)
    return 0


def work(given: argparse.Namespace) -> int:
    """Do units of a saved plan in this process."""
    plan = plans.load_latest(given.run, given.plan)
    return jobs.work(plan, jobs.chosen(plan, given.stages, given.unit), given.unit)


def cancel(given: argparse.Namespace) -> int:
    """Cancel what this run, all of its plans, has queued or running, and nothing else."""
    plan = plans.load_latest(given.run, given.plan)
    plans.refuse_copy(plan)
    submitted = submissions.every(plan.paths)
    # First whatever might queue more.
    relays = slurm.live([one for one in submitted if one.stage == submissions.RELAY])
    slurm.cancel(relays)
    arrays = slurm.live(
        [one for one in submissions.every(plan.paths) if not one.here and one.stage != submissions.RELAY]
    )
    slurm.cancel(arrays)
    asked = sum(processes.stop(plan.paths, one) for one in submitted if one.here and not one.is_of_another)
    said = [_cancelled(one) for one in [*relays, *arrays]]
    said += (
        [f"asked {counted(asked, 'process', 'processes')} on this machine to stop after what is in flight"]
        if asked
        else []
    )
    said += [_cancelled(one) for one in processes.live(plan.paths, submitted) if one.submission.is_of_another]
    print("\n".join(said) or "nothing of this run is queued, and nothing of it runs on this machine")
    return 0


def _cancelled(one: slurm.Live) -> str:
    what = f"{one.submission.stage}, job {one.job_id}"
    user = one.submission.user
    return f"left {what}: only {user} can cancel it" if one.submission.is_of_another else f"cancelled {what}"


def logs(given: argparse.Namespace) -> int:
    """Print the end of the logs of what failed, or the whole ones of what was asked for, each behind its path."""
    plan = plans.load_latest(given.run, given.plan)
    if given.stage is not None and given.stage not in plan.steps:
        raise ConfigError(f"the plan has no stage '{given.stage}'; {nearest(given.stage, plan.steps)}")
    if given.unit is not None and given.stage is None:
        raise ConfigError("--unit needs the stage before it: hpc-curate logs RUN scan --unit 7")
    if given.of is not None:
        return _logs_of_thing(plan, given)
    if given.unit is None:
        return _logs_of_failures(plan, given)
    if not 0 <= given.unit < plan.steps[given.stage].units:
        raise ConfigError(f"{given.stage} has units 0 to {plan.steps[given.stage].units - 1}, not {given.unit}")
    files = logfiles.of_units(plan, given.stage, [given.unit])
    _print_files(files)
    if not files:
        print("no log of this unit", file=sys.stderr)
    return 0


def _logs_of_failures(plan: plans.Plan, given: argparse.Namespace) -> int:
    found = logfiles.of_failures(plan, given.stage)
    for one in found[: given.most]:
        print(f"{one.stage}, {counted(len(one.units), 'unit')} ({listed(one.units)}), {one.kind}: {one.reason}")
        for path in one.files[:1]:
            _print_end(path, given.lines)
        if one.files[1:]:
            print(f"the same in {counted(len(one.files) - 1, 'other log')}, such as {one.files[1]}")
        print("" if one.files else "there is no log\n")
    if rest := found[given.most :]:
        print(f"and {counted(len(rest), 'other reason')}: --most N shows more, STAGE --unit N a whole log")
    if not found:
        print("no unit failed", file=sys.stderr)
    errors = row_errors.counts(plan, [given.stage] if given.stage else plan.steps)
    for line in row_errors.listing(plan, errors):
        print(line, file=sys.stderr)
    return 0


def _logs_of_thing(plan: plans.Plan, given: argparse.Namespace) -> int:
    """What the ledger says of it at each stage, and the log of the first one where it went wrong."""
    words = list(logfiles.of_thing(plan, given.of))
    for word in words:
        print(f"{word.stage:<10} {word.text}")
    bad = next((word for word in words if word.is_bad), None)
    if bad and bad.files:
        print()
        _print_end(bad.files[-1], given.lines)
    return 0


def _print_end(path: Path, lines: int) -> None:
    """Of what the last attempt has written there."""
    print(f"==> {path} <==")
    print("\n".join(causes.last_start(causes.tail(path)).rstrip().splitlines()[-lines:]))


def _print_files(files: Sequence[Path]) -> None:
    for path in files:
        print(f"==> {path} <==")
        print(path.read_text(errors="replace"))


def funnel(given: argparse.Namespace) -> int:
    """Print what became of every video and clip."""
    plan = plans.load_latest(given.run, given.plan)
    made = asked.named([plan, *(plans.load_latest(given.run, other) for other in given.beside)])
    if given.json:
        print(json.dumps([funnels.listed(one) for one in made.values()], indent=1))
        return 0
    if len(made) > 1:
        return _beside(made, given.output)
    found = overview.others(plan, standing.queue(plan))
    print("\n\n".join([*progress.which(found, plan.hash), funnels.said(plan), *progress.plans(found, plan.hash)]))
    return 0


def _beside(made: Mapping[str, plans.Plan], output: Path | None) -> int:
    print("\n".join(f"plan {plan.hash}: {name}" for name, plan in made.items()) + "\n")
    print(funnels.compared(made))
    if output is not None:
        sweep.write(made, output)
        print(f"\nside by side, with pictures: {output}")
    return 0


def table(given: argparse.Namespace) -> int:
    """Write one row per clip or per video."""
    plan = plans.load_latest(given.run, given.plan)
    if given.videos and "fetch" in plan.steps:
        rows, _ = fetched.rows(plan)
    else:
        found = books.read(plan)
        rows = accounting.clip_rows(found)
        rows = accounting.video_rows(found, rows) if given.videos else rows
    write_rows(given.output, rows)
    print(f"{counted(rows.num_rows, 'row')} in {given.output}")
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
