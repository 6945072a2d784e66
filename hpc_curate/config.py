"""Between Hydra and our dataclasses. Below this module there is no Hydra, and no `cfg["a"]["b"]`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from hpc_curate import credentials, registry
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.errors import ConfigError
from hpc_curate.io import delivery
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.web import WebSettings
from hpc_curate.nearest import nearest
from hpc_curate.stage import Resources, Stage


@dataclasses.dataclass(frozen=True)
class Unit:
    """How much one worker takes."""

    gb: float = 4.0  # source bytes, about
    videos: int = 64  # at most


@dataclasses.dataclass(frozen=True)
class Work:
    """What one job of a sweep does in the process that it is started in; nothing: the whole line."""

    units: tuple[int, ...] = ()
    stages: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Limits:
    """When to give up."""

    attempts: int = 3  # of a unit, or of an item that takes its worker down
    bad_share: float = 0.5  # of a unit's clips with an error: more, and the unit fails ...
    bad_rows: int = 20  # ... if it is at least this many
    allow_failed_units: bool = False  # merges go on without them
    lease_s: float = 180.0  # a worker that was not heard of for so long may be relieved of its unit

    def __post_init__(self) -> None:
        if self.lease_s <= 0:
            raise ValueError(f"lease_s={self.lease_s} must be above 0")


# Given to stages by `stages`, from the `measure` and `cutter` groups and from `output`.
_PLUGGED = ("measures", "cutters", "output")


def conf_dir() -> Path:
    """The folder of YAML: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"conf/ is neither in nor beside {package}; reinstall hpc_curate")


def register() -> None:
    """Offer the dataclasses of the folders to Hydra, so that each setting is written once."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for kind in registry.FOLDERS:
        for name in registry.names(kind):
            node = _mirror(registry.load(kind, name))
            store.store(group=kind, name=name, node=node, package=f"{kind}.{name}")


def _mirror(cls: type[Any]) -> type[Any]:
    """A mutable twin with the field types that OmegaConf knows; the rest is checked by `make`."""
    hints = typing.get_type_hints(cls)
    # Says that the recipe has it: a group such as select gives settings to a stage without putting it in.
    fields: list[Any] = [("name", str, dataclasses.field(default=cls.name))]
    for field in dataclasses.fields(cls):
        if field.name in _PLUGGED:
            continue
        kind = hints[field.name]
        plain = kind in (int, float, str, bool) or _optional(kind) in (int, float, str, bool)
        if field.default is not dataclasses.MISSING:
            default: Any = dataclasses.field(default=field.default)
            if isinstance(field.default, tuple):
                default = dataclasses.field(default_factory=partial(list, field.default))
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        else:
            default = dataclasses.field(default="???")
        fields.append((field.name, kind if plain else Any, default))
    return dataclasses.make_dataclass(cls.__name__, fields)


def _optional(kind: Any) -> Any:
    """X of `X | None`, else None."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        return rest[0] if len(rest) == 1 else None
    return None


def make(cls: type[Any], settings: Mapping[str, Any], where: str, **plugged: Any) -> Any:
    """A dataclass from plain settings.

    Raises:
        ConfigError: a wrong name or choice; the message has the nearest right one.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    values: dict[str, Any] = {key: value for key, value in plugged.items() if key in fields}
    for name, value in settings.items():
        if name not in fields:
            raise ConfigError(f"{where} has no setting '{name}'; {nearest(name, set(fields) - set(_PLUGGED))}")
        values[name] = _checked(value, hints[name], f"{where}.{name}")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _checked(value: Any, kind: Any, where: str) -> Any:
    kind = _optional(kind) or kind
    if value is None:
        return None
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"{where}={value!r} is no choice; {nearest(str(value), map(str, choices))}")
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(tuple(part) if isinstance(part, list) else part for part in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool) and type(value) is not kind:
        raise ConfigError(f"{where} must be {kind.__name__}, got {value!r}")
    return value


def stages(config: Mapping[str, Any]) -> dict[str, Stage]:
    """The stage instances of a resolved configuration, in the order of its recipe."""
    measures, cutters = _made("measure", config), _made("cutter", config)
    plugged: dict[str, Any] = {"measures": measures, "cutters": cutters, "output": output(config)}
    return _made("stage", config, **plugged)


def _made(kind: str, config: Mapping[str, Any], **plugged: Any) -> dict[str, Any]:
    """The instances of one kind that the recipe has, in its order."""
    made = {}
    for name, settings in (config.get(kind) or {}).items():
        if settings and settings.get("name") == name:
            rest = {key: value for key, value in settings.items() if key != "name"}
            made[name] = make(registry.load(kind, name), rest, f"{kind}.{name}", **plugged)
    return made


def resources(config: Mapping[str, Any], stage: str) -> Resources:
    """The default resources with the stage's own on top."""
    given = config.get("resources") or {}
    merged = {**(given.get("default") or {}), **(given.get(stage) or {})}
    if merged.get("endpoint") is not None:
        merged["endpoint"] = make(Endpoint, merged["endpoint"], f"resources.{stage}.endpoint")
    return make(Resources, merged, f"resources.{stage}")


def source(config: Mapping[str, Any]) -> SourceSettings:
    """How videos are found and fetched."""
    given = dict(config.get("source") or {})
    web = make(WebSettings, given.pop("web", None) or {}, "source.web")
    settings: SourceSettings = make(SourceSettings, given, "source", web=web)
    return settings


def output(config: Mapping[str, Any]) -> str | None:
    """Where the data set goes: an absolute folder or s3://bucket/prefix; None: into the run folder.

    Raises:
        ConfigError: it is neither.
    """
    return delivery.resolve(config.get("output"))


def unit(config: Mapping[str, Any]) -> Unit:
    """How much one worker takes.

    Raises:
        ConfigError: nothing, or less.
    """
    settings: Unit = make(Unit, config.get("unit") or {}, "unit")
    if settings.gb <= 0 or settings.videos < 1:
        raise ConfigError(f"unit.gb={settings.gb} and unit.videos={settings.videos} must be above 0")
    return settings


def work(values: Mapping[str, Any]) -> Work:
    """What one job does: a single unit or stage may stand for a list of one.

    Raises:
        ConfigError: a wrong name, or something else than numbers of units and names of stages.
    """
    lists = {key: value if isinstance(value, list) else [value] for key, value in values.items() if value is not None}
    made: Work = make(Work, lists, "work")
    if not all(type(unit) is int for unit in made.units) or not all(type(stage) is str for stage in made.stages):
        raise ConfigError(f"work.units are numbers and work.stages are names, not {dict(values)}")
    return made


def check_launch(config: Mapping[str, Any]) -> None:
    """A file of a site may set what the launcher has, on top of the launcher's own file.

    Raises:
        ConfigError: it sets something else, or instead of that file.
    """
    given = config["launch"]
    kind = given.get("kind")
    file = conf_dir() / "launch" / f"{kind}.yaml"
    known = yaml.safe_load(file.read_text()) if file.is_file() else {}
    if missing := set(known) - set(given):
        raise ConfigError(
            f"launch.kind={kind} without launch.{min(missing)} and others; say launch={kind}, "
            f"or in a file of your own: defaults: [override /launch: {kind}]"
        )
    for name in set(given) - set(known) if known else ():
        raise ConfigError(f"launch has no setting '{name}'; {nearest(name, known)}")


def resolve(config: Any) -> dict[str, Any]:
    """A Hydra configuration as plain values, interpolations resolved.

    Raises:
        ConfigError: a value that must be given is missing, or one holds a secret.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        example = {"input": "input=/data/videos", "run_dir": "run_dir=runs/first"}.get(missing[0], f"{missing[0]}=…")
        raise ConfigError(f"{missing[0]} is not set; add {example}")
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(plain, dict)
    settings = {str(key): value for key, value in plain.items()}
    credentials.refuse(settings)
    return settings


def dump(config: Mapping[str, Any]) -> str:
    """YAML in the order of the mapping."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
