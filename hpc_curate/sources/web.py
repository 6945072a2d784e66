"""A web address, https:// or http://, of one video; lists and tables may hold many."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpc_curate import __version__, sources
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.turns import Turns
from hpc_curate.io.web import SCHEMES, Web
from hpc_curate.records import Video

__all__ = ["SCHEMES", "Transport", "accepts", "entries"]


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.partition("://")[0] in SCHEMES and "://" in source


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The one video; nothing is asked of the server yet."""
    uri = sources.resolve(source, "")
    name = urllib.parse.unquote(urllib.parse.urlsplit(uri).path.rpartition("/")[2])
    return sources.tabulate([uri], [sources.printable(name or "video")], [sources.UNKNOWN])


class Transport(sources.Transport):
    """Whole files by HTTP."""

    tool = f"hpc_curate {__version__}"

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        self._web = Web(settings.web, turns)

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        found = self._web.fetch(video.uri, path)
        moved = {"final_uri": found.url} if found.url != video.uri else {}
        return {**moved, **{name: value for name in ("etag", "modified") if (value := getattr(found, name))}}

    def stop(self) -> None:
        self._web.stop()
