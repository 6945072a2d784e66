"""Weights that other packages ship. weights.txt names those packages: they are installed without their dependencies."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hpc_curate.errors import NotInstalled

REQUIREMENTS = Path(__file__).with_name("weights.txt")


def shipped(module: str, name: str, requirement: str) -> Path:
    """The file `name` in the folder of an importable module, without importing it.

    Args:
        requirement: the package in weights.txt that brings it.

    Raises:
        NotInstalled: the package is not installed, or its release has no such file.
    """
    spec = importlib.util.find_spec(module)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    what = f"has no {name}" if folders else "is not installed"
    raise NotInstalled(f"{requirement} {what}", f"run: pip install --no-deps -r {REQUIREMENTS}")
