"""A folder of videos at any depth, or one video.

A link, pipe or socket with the name of a video is an entry: scan records why it is refused. So is a linked folder that
leads out of the input, whatever its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import local_path, local_uri


def accepts(source: str, settings: SourceSettings) -> bool:
    path = local_path(source)
    return "://" not in path and (Path(path).is_dir() or sources.has_extension(path, settings))


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """All videos below a folder, sorted by path.

    Raises:
        ConfigError: there are none, or a folder cannot be read.
    """
    root = sources.absolute(source)
    if not root.is_dir():
        uri = local_uri(root)
        return sources.tabulate([uri], [sources.printable(root.name)], sources.look([uri]))
    try:
        with environment_faults(source):
            paths = sorted(walk(str(root), settings))
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be read: {error.strerror}; change its rights or move it"
        ) from error
    if not paths:
        known = f"source.extensions are {', '.join(settings.extensions)}"
        hint = f"of the videos in its tars: input=wds://{source}" if any(root.rglob("*.tar")) else known
        raise ConfigError(f"input={source} holds no video; {hint}")
    return tabulated(str(root), paths, sources.look([local_uri(path) for path in paths]))


def tabulated(root: str, paths: Sequence[str], sizes: Sequence[tuple[int, str]]) -> pa.Table:
    """Entries of files below a folder; `sizes` are bytes and version."""
    below = len(root.rstrip("/")) + 1
    names = [sources.printable(path[below:]) for path in paths]
    return sources.tabulate([local_uri(path) for path in paths], names, sizes)


def walk(root: str, settings: SourceSettings) -> Iterator[str]:
    """Paths of all videos below a folder, as they are found, without a look at any.

    Raises:
        OSError: a folder cannot be read.
    """
    real_root = Path(root).resolve()
    followed: set[Path] = set()
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_symlink() and Path(entry.path).is_dir():
                    target = Path(entry.path).resolve()
                    if target.is_relative_to(real_root):
                        continue  # it is walked under its own name
                    if not settings.follow_links:
                        yield entry.path
                    elif target not in followed:
                        followed.add(target)
                        folders.append(entry.path)
                elif sources.has_extension(entry.name, settings):
                    yield entry.path
