"""The verb `run`: everything behind it is Hydra's. A mistake is one clear line and exit code 2; nothing is queued."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpc_curate import config, jobs, overrides, sources, units
from hpc_curate import plan as plans
from hpc_curate.cluster import container
from hpc_curate.errors import ConfigError
from hpc_curate.io import delivery
from hpc_curate.io.paths import RunPaths
from hpc_curate.jobs import Job, Jobs
from hpc_curate.learning import verdicts
from hpc_curate.overrides import Words, compose
from hpc_curate.plan import Plan
from hpc_curate.planning import evidence, outlook, pilot, proposal
from hpc_curate.plural import counted
from hpc_curate.records import on_disk
from hpc_curate.report import asked, funnel, sweep
from hpc_curate.run_folder import books, privacy
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State
from hpc_curate.sources import fetched

_DRY_RUN, _JSON, _WHOLE = "--dry-run", "--json", "--whole"

Planned = dict[tuple[str, ...], tuple[Plan, Job]]  # by the overrides of the job


def main(arguments: Sequence[str]) -> int:
    """Check and plan every job of the sweep, then let Hydra run them. Returns the exit code."""
    import hydra

    config.register()
    logging.raiseExceptions = False  # `run … | head` is no reason for tracebacks
    if _DRY_RUN in arguments:
        flags = {_DRY_RUN, _JSON, _WHOLE}
        words = overrides.read([argument for argument in arguments if argument not in flags])
        return dry_run(words, flags & {*arguments})
    words = overrides.read(arguments)
    sys.argv = ["hpc-curate run", *words.every]
    run_by_hydra = hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="config")
    if words.question:
        run_by_hydra(lambda _composed: None)()
        return 0
    log_to_stdout()
    elsewhere = overrides.elsewhere(words)
    planned = plan_jobs(words, elsewhere)
    with privacy.written_by_me_alone():  # there are pickles too
        run_by_hydra(Jobs({of: job for of, (_, job) in planned.items()}, elsewhere))()
    summary(planned)
    return 0


def log_to_stdout() -> None:
    """What is queued or done, for whoever has typed the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)


def plan_jobs(words: Words, elsewhere: bool) -> Planned:
    """Freeze the units and save the plan of every job, before any of them starts.

    Raises:
        ConfigError: one of them is wrong; then nothing is written.
    """
    found = {job: overrides.apart(job) for job in overrides.jobs(words)}
    settings = _checked(words, [rest for rest, _ in found.values()])
    work = {job: config.work(values) for job, (_, values) in found.items()}
    if elsewhere and not all(one.units or one.stages for one in work.values()):
        raise ConfigError("this launcher starts one process per job: say what each does, such as work.units=0,1,2,3")
    made = {rest: _with_pilot(prepare(one, rest), one) for rest, one in settings.items()}
    return {job: (made[rest], jobs.planned(made[rest], work[job])) for job, (rest, _) in found.items()}


def dry_run(words: Words, flags: Collection[str]) -> int:
    """Print what the same command without --dry-run would do; nothing is written or queued.

    Args:
        flags: --json for scripts, --whole with every text that sbatch would be given.

    Raises:
        ConfigError: the command is wrong.
    """
    found = [overrides.apart(job) for job in overrides.jobs(words)]
    if any(work for _, work in found):
        raise ConfigError("--dry-run shows what the whole line would do; leave out work.units and work.stages")
    asked = dict.fromkeys(rest for rest, _ in found)
    seen = [outlook.look(*foresee(one)) for one in _checked(words, list(asked)).values()]
    texts = (outlook.text(one, _WHOLE in flags) for one in seen)
    print(json.dumps([asdict(one) for one in seen], indent=1) if _JSON in flags else "\n\n".join(texts))
    return 0


def _checked(words: Words, asked: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, Any]]:
    """The settings by their overrides. A sweep over units has one plan; composing it for each would take minutes."""
    settings = {rest: config.resolve(compose([*words.hydra, *rest])) for rest in dict.fromkeys(asked)}
    for one in settings.values():
        check(one)
    return settings


def foresee(settings: dict[str, Any]) -> tuple[Plan, pa.Table]:
    """The plan that would be saved, and every video with its unit."""
    kept, unit = _of_plan(settings), config.unit(settings)
    entries = _entries(kept)
    paths = RunPaths(Path(kept["run_dir"]))
    frozen, videos = units.foresee(paths, entries, unit_gb=unit.gb, unit_videos=unit.videos)
    plan, count = plans.build(kept, frozen.units), pilot.asked(settings)
    return pilot.foresee(plan, videos, count) if count else (plan, videos)


def _entries(settings: dict[str, Any]) -> pa.Table:
    found = sources.entries(settings["input"], config.source(settings))
    if "fetch" not in config.stages(settings):
        sources.refuse_unfetched(found)
    return found


def _with_pilot(whole: Plan, settings: dict[str, Any]) -> Plan:
    count = pilot.asked(settings)
    return pilot.prepare(whole, count) if count else whole


def _of_plan(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what is of this command only; tasks and later commands may run in another folder."""
    kept = {key: value for key, value in settings.items() if key not in ("work", "pilot")}
    run_dir = sources.absolute(kept["run_dir"])
    places = {"output": config.output(kept), "run_dir": str(run_dir)}
    stages = verdicts.frozen(kept.get("stage") or {}, RunPaths(run_dir))
    return {**kept, **places, "container": container.frozen(kept), "stage": stages}


def prepare(settings: dict[str, Any], words: Sequence[str] = ()) -> plans.Plan:
    """From settings to a saved plan over frozen units.

    Args:
        words: the overrides that they are from, by which people know the plan.

    Raises:
        ConfigError: the input is empty or cannot be read, or the recipe does not fit together.
    """
    log = logging.getLogger(__name__)
    check(settings)
    kept = _of_plan(settings)
    paths = RunPaths(Path(kept["run_dir"]))
    entries = _entries(kept)
    make_folders(kept)
    kept["stage"] = verdicts.frozen(kept["stage"], paths, write=True)
    unit = config.unit(kept)
    frozen = units.freeze(paths, entries, unit_gb=unit.gb, unit_videos=unit.videos)
    for what, uris in (
        ("named twice, taken once", frozen.repeated),
        ("changed since they were frozen", frozen.changed),
    ):
        if uris:
            log.warning("%s %s: %s", counted(len(uris), "video"), what, ", ".join(uris[:3]))
    if frozen.added < frozen.videos and frozen.added:
        new = counted(frozen.added, "new video")
        log.warning("%s beside those that this run folder had; it keeps all of them", new)
    plan = replace(plans.build(kept, frozen.units), asked=tuple(words))
    plans.save(plan)
    verdicts.warn_of_strangers(kept["stage"], paths)
    what = f"{counted(frozen.videos, 'video')} in {counted(frozen.units, 'unit')}"
    log.info("plan %s: %s, in %s", plan.hash, what, paths.root)
    return plan


def check(settings: dict[str, Any]) -> None:
    """All that can be said before anything is listed: the recipe fits together, the run folder can be written.

    Raises:
        ConfigError: it does not, or it cannot.
    """
    config.unit(settings)
    config.source(settings)
    config.check_launch(settings)
    pilot.asked(settings)
    built = plans.build(settings, 0)
    _ = built.limits
    for step in built.steps.values():
        for part in step.stage.parts():
            part.weights()  # says what is missing before hours of work
    container.check(settings)
    _check_writable("run_dir", settings["run_dir"])
    _check_apart(settings["input"], settings["run_dir"])
    _check_kind("fetch" in built.steps, settings["run_dir"])
    output = config.output(settings)
    if output and not delivery.is_store(output):
        _check_writable("output", output)


def _check_apart(source: str, run_dir: str) -> None:
    """What a run makes does not belong among its videos, nor may it be read as such."""
    place = on_disk(source)
    if place is not None and sources.absolute(place).is_relative_to(sources.absolute(run_dir)):
        raise ConfigError(f"input={source} lies in run_dir={run_dir}: give the run a folder of its own")


def _check_kind(fetches: bool, run_dir: str) -> None:
    """Videos are fetched into a folder of their own: as an input it is looked up by its last plan."""
    before = plans.latest_settings(Path(run_dir))
    if before is None or fetches == bool((before["stage"].get("fetch") or {}).get("name")):
        return
    if fetches:
        raise ConfigError(f"run_dir={run_dir} is a run that curates: fetch into another run_dir, then run input=THAT")
    raise ConfigError(f"run_dir={run_dir} holds fetched videos: run with input={run_dir} and another run_dir")


def _check_writable(name: str, path: str) -> None:
    folder = Path(path).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"{name}={path}: {existing} is not a folder that can be written")


def make_folders(settings: dict[str, Any]) -> None:
    """The last thing that can be a mistake: nothing is made for an input that cannot be read.

    Raises:
        ConfigError: the run folder, or that of the data set, cannot be made.
    """
    output = config.output(settings)
    places = {"output": None if output and delivery.is_store(output) else output, "run_dir": settings["run_dir"]}
    # What lies above a run is no part of it, and as open as folders are here.
    _make(places, lambda folder: folder.absolute().parent.mkdir(parents=True, exist_ok=True))
    privacy.apply(settings)
    _make(places, lambda folder: privacy.make_folder(folder, settings))
    paths = RunPaths(Path(settings["run_dir"]))
    privacy.warn(paths.root, settings)
    paths.hydra.mkdir(parents=True, exist_ok=True)  # everybody makes a folder in there, and alone writes to it


def _make(places: Mapping[str, str | None], make: Callable[[Path], None]) -> None:
    for name, place in places.items():
        try:
            if place:
                make(Path(place))
        except OSError as error:
            raise ConfigError(f"{name}={place} cannot be made: {error.strerror}") from error


def summary(planned: Planned) -> None:
    """Where to look next; of a sweep that is done, its jobs side by side.

    Raises:
        UnitFailed: it is a fetch, and nothing came.
    """
    plan, last = list(planned.values())[-1]
    kind = plan.settings["launch"]["kind"]
    if last.stages:
        what = counted(len(planned), "job")
        print(f"{what} done; the same command without -m, launcher and work does what is missing")
    elif kind == "none":
        print(f"planned: {counted(plan.units, 'unit')}; hpc-curate work {plan.paths.root} --unit 0")
    elif kind == "slurm":
        print(f"queued; hpc-curate status {plan.paths.root}")
        if plan.settings.get("pilot"):
            print(f"when it is done: hpc-curate propose {plan.paths.whole.root}")
    else:
        with_clips = [made for made, _ in planned.values() if books.has_clips(made)]
        if with_clips:
            _results(with_clips)
        elif "fetch" in plan.steps:
            what_came(plan)
        print(f"done; hpc-curate {'funnel' if with_clips else 'status'} {plan.paths.root}")
        if plan.settings.get("pilot"):
            print("\n" + proposal.text(*proposal.of_run(evidence.whole(plan.paths.root))))


def what_came(plan: Plan) -> None:
    """Of a fetch that is done here, how many videos came, and why others did not.

    Raises:
        UnitFailed: nothing came.
    """
    print(fetched.summary(plan), flush=True)
    fetched.refuse_if_nothing_came(plan)


def _results(made: Sequence[Plan]) -> None:
    named = asked.named(made)
    if len(named) > 1:
        print(f"{funnel.compared(named)}\n")
    for name, plan in named.items():
        print(("" if len(named) == 1 else f"{name}, --plan {plan.hash}: ") + funnel.outcome(plan))
        state = State(plan, Ledger(plan.paths), verify=False)
        if place := state.data_set():
            print(f"  data set: {place}")
        if page := state.report():
            print(f"  report: {page}")
    page = sweep.place(named)
    if len(named) > 1 and sweep.write(named, page):
        print(f"side by side, with pictures: {page}")
