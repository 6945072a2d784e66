"""Sources: from what `input=` names to a table of videos, without opening one.

One file holds one way to get videos: `accepts(source, settings)` says whether the input is for it, `entries(source,
settings)` lists it as a table of `ENTRIES`. Where what it lists has to be fetched, `SCHEMES` are the schemes of its
URIs, and a `Transport` says what they are now and brings them. Nothing that was named is dropped: what is no regular
file, or is not there, is an entry of unknown size, so that scan or fetch records what is wrong with it.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import stat
import urllib.parse
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import credentials
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.turns import Turns
from hpc_curate.records import UNITS, Video, local_path, local_uri, remote

ENTRIES = pa.schema([UNITS.field(name) for name in ("uri", "name", "bytes", "version", "extra")])
UNKNOWN = (-1, "")  # bytes and version of what was not looked at, or is not there


class Transport:
    """Brings what has to be fetched; safe to use from several threads."""

    tool = ""  # that does it, for the provenance
    tells_licence = False  # whether `fetch` may say `licence`
    direct = False  # whether videos need not be fetched once for all: scan and cut may each ask for every one

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        raise NotImplementedError

    @classmethod
    def name(cls, settings: SourceSettings) -> str:
        """What does it, for people."""
        return cls.tool

    @classmethod
    def version(cls, settings: SourceSettings) -> str:
        """Version and place of the program or library that is needed; empty where none is.

        Raises:
            NotInstalled: it is not there.
            ToolFailed: it is broken.
        """
        return ""

    def facts(self, video: Video) -> tuple[int, str]:
        """Bytes and version as they are now; `UNKNOWN` where that is not said beforehand.

        Raises:
            BadInput: it is not there.
            Unavailable: no credentials, or no answer.
        """
        return UNKNOWN

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        """Download; `path` is there afterwards, whole. Returns what the source said of it, for the provenance.

        Raises:
            BadInput: there is no such video.
            Unavailable: no credentials, no answer, or it never came whole.
            EnvironmentFault: a full disk.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """End what is under way, for good."""


@cache
def transports() -> dict[str, type[Transport]]:
    """What brings the URIs of a scheme."""
    return {scheme: module.Transport for module in _modules() for scheme in getattr(module, "SCHEMES", ())}


def _modules() -> list[ModuleType]:
    return [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The videos of a folder, a list, a table or an object store, in a fixed order; the same URI may come twice.

    Returns a table of `ENTRIES`; `bytes` is -1 where the size is not known, `version` is "" where it is not.

    Raises:
        ConfigError: there is nothing there, or nothing that can be read as videos.
        EnvironmentFault: the disk or the store does not answer.
    """
    if "://" not in source and not os.path.lexists(source):
        raise ConfigError(f"input={source}: no such file or folder; {_beside(source)}")
    modules = _modules()
    for module in modules:
        if module.accepts(source, settings):
            found: pa.Table = module.entries(source, settings)
            return found
    if "://" in source:
        raise ConfigError(f"input={source} is not fetched; there is {', '.join(sorted(transports()))}")
    known = "; ".join((module.__doc__ or "").splitlines()[0].rstrip(".") for module in modules)
    raise ConfigError(f"input={source} is none of these: {known}")


def _beside(path: str) -> str:
    """The nearest name in the nearest folder that exists."""
    folder, name = os.path.split(path.rstrip("/"))
    while folder and not Path(folder).is_dir():
        folder, name = os.path.split(folder)
    try:
        beside = sorted(found.name for found in Path(folder or ".").iterdir())
    except OSError:
        beside = []
    close = difflib.get_close_matches(name, beside, n=1)
    return f"did you mean {Path(folder) / close[0]}?" if close else f"{folder or 'this folder'} holds no '{name}'"


def tabulate(
    uris: Sequence[str], names: Sequence[str], sizes: Sequence[tuple[int, str]], extras: Sequence[str] | None = None
) -> pa.Table:
    """Entries from columns; `sizes` are bytes and version, `extras` are JSON objects."""
    columns = [
        uris,
        names,
        [size for size, _ in sizes],
        [version for _, version in sizes],
        extras or ["{}"] * len(uris),
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, ENTRIES, strict=True)], schema=ENTRIES)


def absolute(source: str) -> Path:
    """The path of an input, as it was written, links included."""
    return Path(os.path.normpath(Path(local_path(source)).absolute()))


def resolve(text: str, folder: str) -> str:
    """A URI as it was written in a list, made absolute.

    Raises:
        ConfigError: it is neither a path, `file://` nor of a scheme that is fetched, or it holds a secret.
    """
    if "://" in text and (what := credentials.in_url(text)):
        raise ConfigError(f"{credentials.redacted(text)} holds {what}; tables and tars would tell it to everybody")
    scheme, separator, _ = text.partition("://")
    if separator and scheme in transports():
        return text
    if separator and scheme.isalnum() and scheme != "file":
        raise ConfigError(f"{text}: {scheme}:// is not fetched; there is {', '.join(sorted(transports()))}")
    path = local_path(text)
    return local_uri(os.path.normpath(path if path.startswith("/") else f"{folder}/{path}"))


def names(uris: Sequence[str], folder: str) -> list[str]:
    """Printable names, relative to `folder` if all local files lie in it, else to the folder that they share."""
    places = [_place(uri) if remote(uri) else local_path(uri) for uri in uris]
    far = _shared_folder(place for uri, place in zip(uris, places, strict=True) if remote(uri))
    local = _shared_folder(place for uri, place in zip(uris, places, strict=True) if not remote(uri))
    own = folder.rstrip("/") + "/"
    local = own if local.startswith(own) else local
    return [printable(place[len(far if remote(uri) else local) :]) for uri, place in zip(uris, places, strict=True)]


def _place(uri: str) -> str:
    """A web address without its query: what it names."""
    return uri if uri.startswith("s3://") else uri.partition("#")[0].partition("?")[0]


def _shared_folder(uris: Iterable[str]) -> str:
    first = last = None
    for uri in uris:
        first = uri if first is None or uri < first else first
        last = uri if last is None or uri > last else last
    # What the first and the last in order share is shared by all between them.
    return os.path.commonprefix([first or "", last or ""]).rpartition("/")[0] + "/"


def printable(name: str) -> str:
    """A relative name that can be shown: itself, or percent-encoded where it holds control or undecodable bytes."""
    return name if name.isprintable() else urllib.parse.quote(os.fsencode(name))


def look(uris: Sequence[str]) -> list[tuple[int, str]]:
    """Bytes and version of local files; `UNKNOWN` for what is no regular file, not there, or not local."""
    # Several at once: on a shared file system each call is a round trip.
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(_look, uris, chunksize=256))


def _look(uri: str) -> tuple[int, str]:
    if remote(uri):
        return UNKNOWN
    try:
        with environment_faults(uri):
            facts = Path(local_path(uri)).stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return UNKNOWN
    return (facts.st_size, str(facts.st_mtime_ns)) if stat.S_ISREG(facts.st_mode) else UNKNOWN


def refuse_unfetched(found: pa.Table) -> None:
    """Scan and cut would each ask for every video: few sources are made for that.

    Raises:
        ConfigError: with the first URI that has to be fetched before.
    """
    for scheme in sorted(scheme for scheme in schemes(found) if not transports()[scheme].direct):
        first = found.filter(pc.starts_with(found["uri"], f"{scheme}://"))["uri"][0]
        raise ConfigError(f"{first}: fetch it first, hpc-curate fetch input=… run_dir=RAW; then input=RAW")


def schemes(found: pa.Table) -> set[str]:
    """The schemes of entries that are not local files."""
    return {uri.partition("://")[0] for uri in found["uri"].to_pylist() if remote(uri)}


def has_extension(name: str, settings: SourceSettings) -> bool:
    """Whether a name ends like a video, in any case."""
    return name.rpartition(".")[2].lower() in settings.extensions and "." in name


def refuse_if_none_exists(source: str, uris: Sequence[str]) -> None:
    """A list in which no file exists was written for another place.

    Raises:
        ConfigError: with the first path that was looked for.
    """
    if not any(remote(uri) or "\0" in uri or os.path.lexists(local_path(uri)) for uri in uris):
        folder = absolute(source).parent
        raise ConfigError(
            f"input={source}: none of its {len(uris)} files exists; the first is {uris[0]}; "
            f"relative paths are taken from {folder}"
        )
