"""The folders are the registries: one file holds one stage, measure or cutter, and shares its name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

from hpc_curate.errors import ConfigError
from hpc_curate.nearest import nearest

FOLDERS = {"stage": "hpc_curate.stages", "measure": "hpc_curate.measures", "cutter": "hpc_curate.cutters"}


def names(kind: str) -> list[str]:
    """All names of a kind, from the folder listing."""
    package = importlib.import_module(FOLDERS[kind])
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load(kind: str, name: str) -> type[Any]:
    """The one dataclass that the file `name` defines.

    Raises:
        ConfigError: there is no such file.
    """
    known = names(kind)
    if name not in known:
        raise ConfigError(f"there is no {kind} '{name}'; {nearest(name, known)}")
    module = importlib.import_module(f"{FOLDERS[kind]}.{name}")
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == module.__name__ and getattr(found, "name", None) == name:
            if not dataclasses.is_dataclass(found):
                raise ConfigError(f"{kind} '{name}' is not a dataclass")
            return found
    raise ConfigError(f"{module.__name__} holds no class whose name is '{name}'")
