"""What made a run: code, stages, models, and the packages of the Python that wrote the page."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import pyarrow as pa

from hpc_curate import __version__, registry
from hpc_curate.errors import CurateError
from hpc_curate.io import child

_MODELS = 20  # of one column
_OF_TESTS = re.compile(r"""extra == ["']test["']""")


def rows(question: Mapping[str, Any], clips: pa.Table) -> list[tuple[str, str]]:
    """What, and its version.

    Args:
        question: settings of a plan.
        clips: with the columns that say which model made what.
    """
    found = [("hpc_curate", __version__), ("Python", platform.python_version()), ("ffmpeg", _ffmpeg())]
    for kind in registry.FOLDERS:
        named = [f"{name} {registry.load(kind, name).version}" for name in question.get(kind) or {}]
        if named:
            found.append((f"{kind}s", ", ".join(named)))
    for column in [name for name in clips.column_names if name.endswith("_model")]:
        models = clips[column].unique().drop_null().to_pylist()[:_MODELS]
        if models:
            found.append((column, ", ".join(sorted(map(str, models)))))
    packages = _packages()
    return [*found, ("packages", ", ".join(packages))] if packages else found


def _ffmpeg() -> str:
    try:
        return child.ffmpeg_version()
    except CurateError:
        return "none here"


def _packages() -> list[str]:
    """Those that this package asks for and that are here, with their versions."""
    try:
        asked = metadata.requires("hpc-curate") or []
    except metadata.PackageNotFoundError:
        return []
    needed = [text for text in asked if not _OF_TESTS.search(text)]
    names = sorted({re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed})
    return [f"{name} {version}" for name in names if (version := _version(name))]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
