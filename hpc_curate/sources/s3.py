"""An object store: s3://bucket/prefix, listed and read by s5cmd or the AWS CLI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.object_store import ObjectStore, client
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.turns import Turns
from hpc_curate.records import Video

SCHEMES = ("s3",)


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.startswith("s3://")


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """All videos below a prefix, which is taken for a folder; the version is the ETag.

    Raises:
        ConfigError: there are none.
    """
    if not source.removeprefix("s3://").strip("/"):
        raise ConfigError(f"input={source} names no bucket; write s3://bucket/prefix")
    prefix = source.rstrip("/") + "/"
    found = [item for item in ObjectStore(settings).objects(prefix) if sources.has_extension(item.uri, settings)]
    if not found:
        raise ConfigError(
            f"{prefix} holds no video; give a bucket or a whole folder of it, without wildcards "
            f"(source.extensions are {', '.join(settings.extensions)})"
        )
    found.sort(key=lambda item: item.uri)
    uris = [item.uri for item in found]
    names = [sources.printable(uri[len(prefix) :]) for uri in uris]
    return sources.tabulate(uris, names, [(item.bytes, item.etag) for item in found])


class Transport(sources.Transport):
    """Objects, one at a time."""

    direct = True

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        self.tool = settings.s3_tool
        self._store = ObjectStore(settings)

    @classmethod
    def name(cls, settings: SourceSettings) -> str:
        return settings.s3_tool

    @classmethod
    def version(cls, settings: SourceSettings) -> str:
        used = client(settings)
        return used.tool.version(*used.asks_version)

    def facts(self, video: Video) -> tuple[int, str]:
        found = self._store.head(video.uri)
        return found.bytes, found.etag

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        self._store.fetch(video.uri, path, size)
        return {}

    def stop(self) -> None:
        self._store.stop()
