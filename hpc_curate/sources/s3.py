"""An object store: s3://bucket/prefix, listed by s5cmd."""

from __future__ import annotations

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import ObjectStore, SourceSettings


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
