"""A web address, https:// or http://, of one video; lists and tables may hold many."""

from __future__ import annotations

import urllib.parse

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.web import SCHEMES


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.partition("://")[0] in SCHEMES and "://" in source


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The one video; nothing is asked of the server yet."""
    uri = sources.resolve(source, "")
    name = urllib.parse.unquote(urllib.parse.urlsplit(uri).path.rpartition("/")[2])
    return sources.tabulate([uri], [sources.printable(name or "video")], [sources.UNKNOWN])
