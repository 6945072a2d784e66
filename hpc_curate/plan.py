"""A recipe as ordered stage instances: who writes which column, what is asked for, and what a signature covers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from hpc_curate import __version__, config, registry, weights
from hpc_curate.errors import ConfigError
from hpc_curate.io import tables
from hpc_curate.io.paths import RunPaths
from hpc_curate.nearest import nearest
from hpc_curate.records import digest
from hpc_curate.stage import Filter, Merge, PerClip, PerUnit, Resources, Stage
from hpc_curate.weights import Noted

EVERY_COLUMN = "*"  # in `reads`: all clip columns that stages before it write
EVERYTHING = "**"  # the same, and all tables


@dataclass(frozen=True)
class Step:
    """A stage in its place in the line."""

    stage: Stage
    resources: Resources
    upstream: tuple[str, ...]  # stages whose tables or columns it computes from
    asked_by: str | None  # the stage whose clips it is asked for: the last filter, or the one that makes clips
    units: int  # tasks

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Stages that must be done before it starts."""
        return tuple(dict.fromkeys([*self.upstream, *([self.asked_by] if self.asked_by else [])]))


@dataclass(frozen=True)
class Plan:
    """One resolved configuration over a frozen set of units."""

    hash: str
    paths: RunPaths
    settings: dict[str, Any]  # the whole configuration
    units: int
    steps: dict[str, Step]
    writers: dict[str, str]  # column or table name -> stage
    noted: Noted = field(default=weights.NOTHING, repr=False, compare=False)
    asked: tuple[str, ...] = field(default=(), repr=False, compare=False)  # the overrides that made it
    _static: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _work: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def limits(self) -> config.Limits:
        limits: config.Limits = config.make(config.Limits, self.settings["limits"], "limits")
        return limits

    @property
    def file(self) -> Path:
        return self.paths.plan(self.hash)

    def before(self, name: str) -> list[str]:
        """Every stage that must be done before this one starts, however far before; in the order of the line."""
        near = self.steps[name].waits_for
        found = {*near, *(far for one in near for far in self.before(one))}
        return [step for step in self.steps if step in found]

    def static_signature(self, name: str) -> str:
        """The signature without what merges have read; for merges and what follows them it is not the whole."""
        if name not in self._static:
            step = self.steps[name]
            upstream = [self.static_signature(before) for before in step.upstream]
            self._static[name] = step.stage.signature(upstream, self.noted)
        return self._static[name]

    def work_signature(self, name: str) -> str:
        """The static signature together with what the stage will be asked for."""
        if name not in self._work:
            asked = [self.work_signature(before) for before in self.steps[name].waits_for]
            self._work[name] = digest(self.static_signature(name), asked, self.steps[name].units)
        return self._work[name]


def build(settings: Mapping[str, Any], units: int, noted: Noted = weights.NOTHING) -> Plan:
    """Check a recipe and put its stages in order.

    Args:
        noted: what counts where files that it names are not here.

    Raises:
        ConfigError: a column or table has no writer before its reader, or has two.
    """
    stages = config.stages(settings)
    steps: dict[str, Step] = {}
    writers: dict[str, str] = {}
    columns: list[str] = []
    asker: str | None = None
    collector: str | None = None  # the first stage that reads every column before it
    for name, stage in stages.items():
        wildcards = {EVERY_COLUMN: columns, EVERYTHING: list(writers)}
        # `caption?` is read where a stage before writes it, and not missed elsewhere.
        asks = noted.of_reads(stage)
        wildcards |= {read: [read[:-1]] if read[:-1] in writers else [] for read in asks if read.endswith("?")}
        reads = [column for read in asks for column in wildcards.get(read, [read])]
        upstream = [_writer(read, name, writers, stages) for read in reads]
        tasks = _tasks(stage, units, stages)
        if isinstance(stage, PerUnit) and stage.incremental and not stage.pieces():
            _writer("start_pts", name, writers, stages)  # it is asked for clips, so somebody has to make them
        asked_by = None if _sees_all(stage) else asker
        resources = config.resources(settings, name)
        stage.check(resources)
        steps[name] = Step(stage, resources, tuple(dict.fromkeys(upstream)), asked_by, tasks)
        for written in _written(stage):
            if written in writers:
                raise ConfigError(f"stages {writers[written]} and {name} both write '{written}'; take one out")
            writers[written] = name
            columns += [written] if written not in stage.writes() else []
        if isinstance(stage, Filter) or writers.get("start_pts") == name:
            asker = name
        collector = collector or (name if EVERY_COLUMN in asks else None)
        if isinstance(stage, PerClip) and collector:
            raise ConfigError(
                f"stage {name} stands behind {collector}, which takes every column that is there before it; "
                f"put it before: stage=[{','.join(_moved(list(stages), name, collector))}]"
            )
    plain = {key: value for key, value in settings.items() if key != "hydra"}
    plan_hash = digest(plain, list(stages), units, __version__)[:12]
    return Plan(plan_hash, RunPaths(Path(plain["run_dir"]).absolute()), plain, units, steps, writers, noted)


def _moved(order: list[str], name: str, before: str) -> list[str]:
    rest = [stage for stage in order if stage != name]
    at = rest.index(before)
    return [*rest[:at], name, *rest[at:]]


def _written(stage: Stage) -> list[str]:
    """The clip columns and the tables that a stage writes."""
    tables = stage.writes()
    columns = (
        [column for column in tables["rows"].names if column not in ("clip_id", "error")] if "rows" in tables else []
    )
    return [*columns, *(table for table in tables if table != "rows")]


def _sees_all(stage: Stage) -> bool:
    """Filters that are merges look at every clip, also those that an earlier filter rejected."""
    return isinstance(stage, Filter) and isinstance(stage, Merge)


def _tasks(stage: Stage, units: int, stages: Mapping[str, Stage]) -> int:
    if not isinstance(stage, PerUnit):
        return 1
    if stage.units_from is None:
        return units
    return int(getattr(stages[stage.units_from], "groups"))  # noqa: B009


def _writer(read: str, reader: str, writers: Mapping[str, str], stages: Mapping[str, Stage]) -> str:
    if read in writers:
        return writers[read]
    later = [name for name, stage in stages.items() if read in _written(stage)]
    if later:
        raise ConfigError(f"stage.{reader} needs '{read}', which stage {later[0]} writes after it; change the order")
    hint = _maker(read) or nearest(read, writers)
    raise ConfigError(f"stage.{reader} needs '{read}', but no stage of the recipe writes it; {hint}")


def _maker(column: str) -> str | None:
    """What would write a column, if it were in the recipe."""
    for kind in ("measure", "stage"):
        for name in registry.names(kind):
            if column in getattr(registry.load(kind, name), "columns", pa.schema([])).names:
                recipes = _recipes_with(kind, name)
                hint = f", or take a recipe that has it, such as recipe={recipes[0]}" if recipes else ""
                return f"{kind} {name} does: add it{hint}"
    return None


def _recipes_with(kind: str, name: str) -> list[str]:
    """Recipes that have a stage or measure, those that need nothing from elsewhere before the others."""
    found = []
    for path in sorted((config.conf_dir() / "recipe").glob("*.yaml"), key=lambda path: (path.stem != "full", path)):
        groups: dict[str, Any] = {}
        for group in yaml.safe_load(path.read_text())["defaults"]:
            groups |= group if isinstance(group, dict) else {}
        found += [path.stem] if name in groups.get(f"/{kind}", []) else []
    return found


def save(plan: Plan) -> None:
    """Write the plan once, and again where other words ask for the same; `latest` names it."""
    if not plan.file.exists() or plan.asked not in ((), _asked(_body(plan.file))):
        body = {"hash": plan.hash, "version": __version__, "units": plan.units}
        body |= {"asked": list(plan.asked), "settings": plan.settings}
        tables.write_text(plan.file, config.dump(body))
    weights.note(plan.paths.weights(plan.hash), [step.stage for step in plan.steps.values()], plan.noted)
    tables.write_text(plan.paths.latest, plan.hash + "\n")


def _body(file: Path) -> dict[str, Any]:
    """What `save` wrote, in whatever locale it is read."""
    body: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return body


def _asked(body: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(body.get("asked", ()))


def load(file: Path) -> Plan:
    """A plan from its file, over the run folder that the file is in: it may have been moved or copied.

    Raises:
        ConfigError: the code that queued it had another version.
    """
    body = _body(file)
    if body["version"] != __version__:
        raise ConfigError(f"{file.name} was made by hpc_curate {body['version']}, this is {__version__}; run again")
    paths = RunPaths.of_plan(file.absolute())
    built = build(body["settings"], body["units"], weights.recall(paths.weights(body["hash"])))
    return replace(built, paths=paths, asked=_asked(body))


def load_latest(run: Path, plan_hash: str | None = None) -> Plan:
    """The plan of a run folder: the one named, also by the first digits of its hash, or the last.

    Raises:
        ConfigError: there is none, it is not for this user, or several begin like this.
    """
    paths = RunPaths(run.absolute())
    if paths.root.is_dir() and not os.access(paths.root, os.R_OK | os.X_OK):
        raise ConfigError(f"{run} is private: only its owner can share it (shareable=true)")
    known = sorted(path.stem for path in paths.plans.glob("*.yaml"))
    if not known or not (plan_hash or paths.latest.exists()):
        raise ConfigError(f"{run} is not a run folder: it has no plan; give the run_dir of hpc-curate run")
    wanted = plan_hash or paths.latest.read_text().strip()
    meant = [name for name in known if name.startswith(wanted)]
    if not meant:
        raise ConfigError(f"{run} has no plan '{wanted}'; {nearest(wanted, known)}")
    if len(meant) > 1:
        raise ConfigError(f"{run} has {len(meant)} plans that begin with '{wanted}': {', '.join(meant)}")
    return load(paths.plan(meant[0]))


def latest_settings(run: Path) -> dict[str, Any] | None:
    """What the last plan of a folder asks, whatever version made it; None: the folder has none yet."""
    paths = RunPaths(run.absolute())
    try:
        file = paths.plan(paths.latest.read_text().strip())
        settings: dict[str, Any] = _body(file)["settings"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return settings


def refuse_copy(plan: Plan) -> None:
    """Before anything is queued or cancelled: the jobs that a copy of a run folder knows are not its own.

    Raises:
        ConfigError: the folder that the run was started in is still there, and is another one.
    """
    own = Path(plan.settings["run_dir"])
    if own.exists() and not own.samefile(plan.paths.root):
        raise ConfigError(f"{plan.paths.root} is a copy of {own}; its jobs are those of the original: go there")
