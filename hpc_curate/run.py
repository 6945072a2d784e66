"""The verb `run`: everything behind it is Hydra's. A mistake is one clear line and exit code 2; nothing is queued."""

from __future__ import annotations

import difflib
import itertools
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc_curate import accounting, books, config, launch, registry, sources, units
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError, CurateError
from hpc_curate.io import delivery
from hpc_curate.io.paths import RunPaths
from hpc_curate.ledger import Ledger
from hpc_curate.nearest import nearest
from hpc_curate.report import text as report_text
from hpc_curate.state import State

_HYDRA_ONLY = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version")


def main(arguments: Sequence[str]) -> int:
    """Check every job of the sweep, then let Hydra run them. Returns the exit code."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    config.register()
    if not any(argument.split("=")[0] in _HYDRA_ONLY for argument in arguments):
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        jobs = list(compose_all(overrides))
        if len(jobs) > 1 and not {"-m", "--multirun"} & set(arguments):
            raise ConfigError(f"these overrides are {len(jobs)} jobs; add -m to run them as a sweep")
        for settings in jobs:
            check(settings)
        for settings in jobs:
            make_folders(settings)
    made: dict[tuple[str, ...], plans.Plan] = {}

    def job(cfg: Any) -> None:
        made[tuple(HydraConfig.get().overrides.task)] = curate(cfg)

    sys.argv = ["hpc-curate run", *arguments]
    logging.raiseExceptions = False  # `run … | head` is no reason for tracebacks
    hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="config")(job)()
    summary(made)
    return 0


def curate(cfg: Any) -> plans.Plan:
    """One job of Hydra: freeze the units, save the plan, launch it."""
    try:
        plan = prepare(config.resolve(cfg))
        launch.run(plan)
    except CurateError as error:
        # Hydra would print a traceback; SystemExit passes through it with our exit code.
        print(f"hpc-curate: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        print("hpc-curate: interrupted; the same command does what is missing", file=sys.stderr)
        sys.exit(130)
    return plan


def prepare(settings: dict[str, Any]) -> plans.Plan:
    """From settings to a saved plan over frozen units.

    Raises:
        ConfigError: the input is empty or cannot be read, or the recipe does not fit together.
    """
    log = logging.getLogger(__name__)
    check(settings)
    # Tasks and later commands may run in another folder.
    settings = {**settings, "output": config.output(settings), "run_dir": str(Path(settings["run_dir"]).absolute())}
    paths = RunPaths(Path(settings["run_dir"]))
    entries = sources.entries(settings["input"], config.source(settings))
    unit = config.unit(settings)
    frozen = units.freeze(paths, entries, unit_gb=unit.gb, unit_videos=unit.videos)
    for what, uris in (
        ("named twice, taken once", frozen.repeated),
        ("changed since they were frozen", frozen.changed),
    ):
        if uris:
            log.warning("%d videos are %s: %s", len(uris), what, ", ".join(uris[:3]))
    if frozen.added < frozen.videos and frozen.added:
        log.warning("%d videos are new beside those that this run folder had; it keeps all of them", frozen.added)
    plan = plans.build(settings, frozen.units)
    plans.save(plan)
    log.info("plan %s: %d videos in %d units, in %s", plan.hash, frozen.videos, frozen.units, paths.root)
    return plan


def check(settings: dict[str, Any]) -> None:
    """All that can be said before anything is listed: the recipe fits together, the run folder can be written.

    Raises:
        ConfigError: it does not, or it cannot.
    """
    config.unit(settings)
    config.source(settings)
    _ = plans.build(settings, 0).limits
    _check_writable("run_dir", settings["run_dir"])
    output = config.output(settings)
    if output and not delivery.is_store(output):
        _check_writable("output", output)


def _check_writable(name: str, path: str) -> None:
    folder = Path(path).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"{name}={path}: {existing} is not a folder that can be written")


def make_folders(settings: dict[str, Any]) -> None:
    """The last thing that can be a mistake.

    Raises:
        ConfigError: the run folder, or that of the data set, cannot be made.
    """
    output = config.output(settings)
    places = {"output": None if output and delivery.is_store(output) else output, "run_dir": settings["run_dir"]}
    for name, place in places.items():
        try:
            if place:
                Path(place).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{name}={place} cannot be made: {error.strerror}") from error


def summary(made: Mapping[tuple[str, ...], plans.Plan]) -> None:
    """Where to look next; of a sweep that is done, its jobs side by side."""
    if not made:
        return
    plan = list(made.values())[-1]
    if plan.settings["launch"]["kind"] == "slurm":
        print(f"queued; hpc-curate status {plan.paths.root}")
        return
    shared = set.intersection(*(set(overrides) for overrides in made))
    names = [" ".join(part for part in overrides if part not in shared) or plan.hash for overrides in made]
    found = [books.read(one) for one in made.values()]
    if len(made) > 1:
        funnels = [accounting.funnel(one) for one in found]
        print(report_text.compare(dict(zip(names, funnels, strict=True))))
    for name, one, tables in zip(names, made.values(), found, strict=True):
        print(("" if len(made) == 1 else f"{name}, --plan {one.hash}: ") + outcome(tables))
        place = State(one, Ledger(one.paths), verify=False).data_set()
        if place:
            print(f"  data set: {place}")
        if "report" in one.steps:
            print(f"  report: {one.paths.report(one.hash) / 'index.html'}")
    print(f"done; hpc-curate funnel {plan.paths.root}")


def outcome(found: accounting.Books) -> str:
    """One line: what is kept, and what failed."""
    clips = accounting.clip_rows(found)
    videos = accounting.video_rows(found, clips)
    kept, failed = (clips["state"].to_pylist().count(state) for state in (accounting.KEPT, accounting.FAILED))
    lost = videos["state"].to_pylist().count(accounting.FAILED)
    nothing = "; nothing is kept: hpc-curate funnel says why" if not kept else ""
    return f"{kept} of {clips.num_rows} clips kept; failed: {lost} of {videos.num_rows} videos, {failed} clips{nothing}"


# -- checking overrides --------------------------------------------------------------------------------------------


def compose_all(overrides: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The settings of every job of a sweep.

    Raises:
        ConfigError: one override is wrong; the message names it and the nearest right name.
    """
    for job_overrides in _sweep(overrides):
        yield config.resolve(compose(job_overrides))


def compose(overrides: Sequence[str]) -> Any:
    """One composed configuration.

    Raises:
        ConfigError: an override is wrong.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(version_base="1.3", config_dir=str(config.conf_dir())):
        try:
            return hydra_compose("config", overrides=list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            good: list[str] = []
            # Choices of groups first: what a setting may be called depends on them.
            for override in sorted(overrides, key=lambda text: "." in text.split("=")[0]):
                try:
                    hydra_compose("config", overrides=[*good, override])
                    good.append(override)
                except (HydraException, OmegaConfBaseException) as cause:
                    raise ConfigError(_explain(override, cause, hydra_compose("config", overrides=good))) from cause
            raise ConfigError(str(error).splitlines()[0]) from error


def _sweep(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The product of all sweeps, as Hydra's own sweeper makes it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    axes: list[list[str]] = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise ConfigError(f"'{text}' cannot be read: {str(error).splitlines()[0]}") from error
        if override.key_or_group.startswith("hydra"):
            continue
        key = text.split("=", 1)[0]
        values = override.sweep_string_iterator() if override.is_sweep_override() else None
        axes.append([f"{key}={value}" for value in values] if values is not None else [text])
    return (list(job) for job in itertools.product(*axes))


def _explain(override: str, error: BaseException, default: Any) -> str:
    """One line on what is wrong with one override, with the nearest right name."""
    from omegaconf import OmegaConf

    key = override.partition("=")[0].lstrip("+~")
    said = " ".join(str(part) for part in (error, error.__cause__) if part)
    if "does not support deletion" in said:
        return f"{override}: a setting cannot be taken out; null or another choice of its group switches it off"
    absent = re.search(r"Could not (?:find|load) '([^'/]+)/([^']+)'", said)
    if absent:
        group, choice = absent.groups()
        choices = {path.stem for path in (config.conf_dir() / group).glob("*.yaml")}
        choices |= set(registry.names(group)) if group in registry.FOLDERS else set()
        return f"{group}={choice}: there is no such choice; {nearest(choice, choices)}"
    if any(word in said for word in ("converted to", "Unsupported", "incompatible")):
        cause = str(error.__cause__ or error).splitlines()[0]
        return f"{override}: {cause}"
    return f"there is no setting '{key}'; {_right_name(key, _keys(OmegaConf.to_container(default, resolve=False)))}"


def _right_name(key: str, known: set[str]) -> str:
    """The key with its first wrong part put right."""
    parts = key.split(".")
    right = next(n for n in range(len(parts), -1, -1) if n == 0 or ".".join(parts[:n]) in known)
    parent, wrong, rest = ".".join(parts[:right]), parts[right], parts[right + 1 :]
    beside = {name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent}
    hint = f"; +{key}=… adds a rule" if parent.endswith(".rules") else ""
    close = difflib.get_close_matches(wrong, beside, n=1)
    if close:
        return f"did you mean '{'.'.join([*parts[:right], close[0], *rest])}'?{hint}"
    return nearest(wrong, beside) + hint


def _keys(node: Any, prefix: str = "") -> set[str]:
    if not isinstance(node, dict):
        return set()
    found = set()
    for name, value in node.items():
        if prefix == "" and name == "hydra":
            continue
        found |= {f"{prefix}{name}"} | _keys(value, f"{prefix}{name}.")
    return found
