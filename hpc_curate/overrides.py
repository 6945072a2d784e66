"""The words behind `run`: taken apart, and checked before Hydra does anything with them."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from hpc_curate import config, credentials, registry
from hpc_curate.errors import ConfigError
from hpc_curate.nearest import nearest
from hpc_curate.stage import Resources

_SITE_FOLDER = "HPC_CURATE_CONF"  # in the environment: a folder like conf/, with a cluster/mysite.yaml for example
_QUESTIONS = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--shell-completion", "-sc", "--version")


_RESOURCE = re.compile(r"resources\.(\w+)\.(\w+)[.=]")


@dataclass(frozen=True)
class Words:
    """What stands behind `run`, as Hydra is given it."""

    every: tuple[str, ...]

    @property
    def question(self) -> bool:
        """Whether Hydra is only asked something, such as the whole configuration."""
        return any(word.split("=")[0] in _QUESTIONS for word in self.every)

    @property
    def multirun(self) -> bool:
        return bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(self.every))

    @property
    def hydra(self) -> list[str]:
        """Overrides of Hydra's own settings."""
        return [word for word in self.every if word.lstrip("+").startswith(("hydra.", "hydra/"))]

    @property
    def ours(self) -> list[str]:
        return [word for word in self.every if not word.startswith("-") and word not in self.hydra]


def site_folders() -> list[tuple[str, str]]:
    """Folders of YAML beside conf/, behind what names them."""
    named = os.environ.get(_SITE_FOLDER)
    return [(_SITE_FOLDER, named)] if named else []


def read(arguments: Sequence[str]) -> Words:
    """Folders of more YAML become an override, so that they go wherever Hydra goes.

    Raises:
        ConfigError: such a folder is not there, or a word holds a secret.
    """
    credentials.refuse_words(arguments)
    folders, rest, left = site_folders(), [], iter(arguments)
    for word in left:
        flag, _, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append((flag, value or next(left, "")))
        elif flag.startswith("--") and flag.strip("-") in _sections():
            raise ConfigError(f"{word}: settings have no dashes; write {flag.strip('-')}={value or 'VALUE'}")
        else:
            rest.append(_with_any_stage(word))
    for where, folder in folders:
        if not folder or not Path(folder).is_dir():
            raise ConfigError(f"{where}={folder}: there is no such folder")
    # Quoted: a path may have characters that mean something in an override.
    quoted = ["'file://{}'".format(str(Path(folder).absolute()).replace("'", r"\'")) for _, folder in folders]
    places = [f"hydra.searchpath=[{','.join(quoted)}]"] if quoted else []
    # Hydra wants all overrides in one row; only its questions have flags with a value behind them.
    words = Words((*places, *rest) if rest and not rest[0].startswith("-") else (*rest, *places))
    if words.question:
        return words
    return Words((*(word for word in rest if word.startswith("-")), *words.hydra, *words.ours))


def _with_any_stage(word: str) -> str:
    """Hydra wants ++ before a key that the YAML does not have; of resources, every stage has all."""
    found = _RESOURCE.match(word)
    stages = {"default", *registry.names("stage")}
    known = found and found[1] in stages and found[2] in {field.name for field in fields(Resources)}
    return f"++{word}" if known else word


def jobs(words: Words) -> list[tuple[str, ...]]:
    """The overrides of every job of a sweep: their product, as Hydra's own sweeper writes and orders them.

    Raises:
        ConfigError: one cannot be read, or there are several jobs without -m.
    """
    axes: dict[str, list[str]] = {}
    for text in words.ours:
        override = _parse(text)
        key = override.get_key_element()
        if override.is_sweep_override():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            axes[key] = [f"{key}={override.get_value_element_as_str()}" if "=" in text else text]
    found = list(itertools.product(*axes.values()))
    if len(found) > 1 and not words.multirun:
        raise ConfigError(f"these overrides are {len(found)} jobs; add -m to run them as a sweep")
    return found


def apart(job: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The overrides that make a plan, and the values of those that say what this job does of it."""
    rest = tuple(text for text in job if not text.startswith("work."))
    parsed = [_parse(text) for text in job if text not in rest]
    return rest, {override.key_or_group.removeprefix("work."): override.value() for override in parsed}


def elsewhere(words: Words) -> bool:
    """Whether Hydra's launcher starts processes of its own for the jobs.

    Raises:
        ConfigError: a sweeper whose jobs cannot be known before they start, or a wrong setting of Hydra.
    """
    if not words.multirun:
        return False
    for text in words.hydra:
        _parse(text)
    settings = compose([*words.hydra, *jobs(words)[0]], whole=True).hydra
    if settings.sweeper.params or not settings.sweeper._target_.endswith(".BasicSweeper"):
        raise ConfigError(
            "sweeps stand on the command line, as in select=lenient,strict; no sweeper, no sweeper.params"
        )
    return not settings.launcher._target_.endswith(".BasicLauncher")


def _parse(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        if "=" not in text:
            right = f"input={text}" if os.path.lexists(text) else "NAME=VALUE, as in input=VIDEOS run_dir=RUN"
            raise ConfigError(f"'{text}' is no setting; write {right}") from error
        key, _, value = text.partition("=")
        # Hydra's grammar has Latin letters, digits and few signs.
        hint = "" if value[:1] in ("'", '"') else f"; other letters and signs stand in quotes: \"{key}='{value}'\""
        raise ConfigError(f"'{text}' cannot be read: {str(error).splitlines()[0]}{hint}") from error


def compose(overrides: Sequence[str], whole: bool = False) -> Any:
    """One composed configuration; `whole`: with Hydra's own settings.

    Raises:
        ConfigError: an override is wrong; the message names it and the nearest right name.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(version_base="1.3", config_dir=str(config.conf_dir())):
        try:
            made = hydra_compose("config", overrides=list(overrides), return_hydra_config=whole)
            _refuse_idle(overrides, made)
            return made
        except (HydraException, OmegaConfBaseException) as error:
            good: list[str] = []
            # Where to look for YAML first, then the choices of groups: what a setting may be called depends on them.
            order = sorted(
                overrides, key=lambda text: (not text.startswith("hydra.searchpath="), "." in text.split("=")[0])
            )
            for override in order:
                try:
                    hydra_compose("config", overrides=[*good, override])
                    good.append(override)
                except (HydraException, OmegaConfBaseException) as cause:
                    raise ConfigError(_explain(override, cause, good)) from cause
            raise ConfigError(str(error).splitlines()[0]) from error


def _refuse_idle(overrides: Sequence[str], made: Any) -> None:
    """A plus makes Hydra take anything, also what nobody will ever read.

    Raises:
        ConfigError: a setting of a stage that the recipe does not have, or of nothing.
    """
    for text in overrides:
        key = text.partition("=")[0]
        group, _, rest = key.lstrip("+").partition(".")
        if not key.startswith("+") or "@" in key:
            continue
        if group == "stage" and "." in rest and "name" not in made.stage[rest.partition(".")[0]]:
            raise ConfigError(_no_stage(text, made.stage))
        if "/" not in group and group not in (known := _sections()):
            raise ConfigError(f"there is no setting '{group}'; {nearest(group, known)}")


def _no_stage(text: str, stages: Mapping[str, Any]) -> str:
    wanted = text.lstrip("+").split(".")[1]
    order = ",".join(name for name, settings in stages.items() if "name" in settings)
    return f"{text}: the recipe has no stage {wanted}; put it where it belongs: stage=[{order}] and {wanted}"


def _sections() -> set[str]:
    """What a setting may begin with: the keys of config.yaml, and the groups."""
    folder = config.conf_dir()
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    return {*yaml.safe_load((folder / "config.yaml").read_text()), *groups, *registry.FOLDERS, "hydra"} - {"defaults"}


def _explain(override: str, error: BaseException, good: Sequence[str]) -> str:
    """One line on what is wrong with one override, with the nearest right name."""
    from hydra import compose as hydra_compose
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    key = override.partition("=")[0].lstrip("+~")
    said = " ".join(str(part) for part in (error, error.__cause__) if part)
    if "does not support deletion" in said:
        return f"{override}: a setting cannot be taken out; null or another choice of its group switches it off"
    absent = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", said)
    if absent:
        group, choice = absent.groups()
        loader = GlobalHydra.instance().config_loader()
        choices = loader.get_group_options(group, config_name="config", overrides=list(good))
        hint = "; pip install 'hpc-curate[hydra]'" if choice.startswith("submitit") else ""
        return f"{group}={choice}: there is no such choice; {nearest(choice, choices)}{hint}"
    if any(word in said for word in ("converted to", "Unsupported", "incompatible")):
        cause = str(error.__cause__ or error).splitlines()[0]
        return f"{override}: {cause}"
    default: Any = OmegaConf.to_container(hydra_compose("config", overrides=list(good), return_hydra_config=True))
    known = _keys(default)
    if key in known:
        return f"{override}: {str(error.__cause__ or error).splitlines()[0]}; to add keys to it: +{key}=…"
    group, _, rest = key.partition(".")
    if group == "stage" and rest.partition(".")[0] in {*registry.names("stage")} - {*default["stage"]}:
        return _no_stage(override, default["stage"])
    return f"there is no setting '{key}'; {_right_name(key, known)}"


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
        found |= {f"{prefix}{name}"} | _keys(value, f"{prefix}{name}.")
    return found
