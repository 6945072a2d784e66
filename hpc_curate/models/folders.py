"""Models that are folders, in the format of `transformers`: config.json, weights, and how pictures are prepared."""

from __future__ import annotations

from pathlib import Path

from hpc_curate.errors import ConfigError


def files(folder: str | Path, setting: str) -> list[Path]:
    """What such a folder holds; all of it may change results.

    Args:
        setting: that named the folder, for the message.

    Raises:
        ConfigError: it is no such folder.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ConfigError(f"{setting}={folder}: no folder of a model; it has no config.json")
    return sorted(path for path in Path(folder).iterdir() if path.is_file())
