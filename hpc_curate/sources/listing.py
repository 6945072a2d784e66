"""A text list (.txt, .lst, .list): one path or URI a line, relative to the list's folder; # begins a comment."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import local_path

_SUFFIXES = (".txt", ".lst", ".list")


def accepts(source: str, settings: SourceSettings) -> bool:
    return local_path(source).lower().endswith(_SUFFIXES) and Path(local_path(source)).is_file()


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The lines of the list in their order; empty ones and comments do not count (a file `#1.mp4` is `./#1.mp4`).

    Raises:
        ConfigError: it is empty, or none of its files exists.
    """
    path = sources.absolute(source)
    folder = str(path.parent)
    # Names of files are bytes: a list may hold some that no encoding reads.
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(b"\n")]
    uris = [sources.resolve(line, folder) for line in lines if line.strip() and not line.startswith("#")]
    if not uris:
        raise ConfigError(f"input={source} is empty; write one path or URI a line")
    sources.refuse_if_none_exists(source, uris)
    return sources.tabulate(uris, sources.names(uris, folder), sources.look(uris))
