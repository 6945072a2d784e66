"""Where a data set goes: a folder, or a prefix of an object store.

Each pack has a folder of its own there, named by its signature, so that the tars of two packs never mix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from hpc_curate.errors import ConfigError
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.paths import RunPaths
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.tables import read_json, size_and_sha256, write_json

T = TypeVar("T")

_S3 = "s3://"
_KINDS = (".tar", ".mp4")  # of the files that hold clips
# What neither a shell, a URL, a glob nor a brace expansion reads in another way: users put these in front of tar names.
_PREFIX = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+(/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*)*\Z")


class Delivery(Protocol):
    """The data set of one pack."""

    @property
    def url(self) -> str:
        """What `urls.txt` has before the name of a tar."""
        ...

    def put(self, name: str, write: Callable[[Path], T]) -> T:
        """Publish a file under its final name, whole or not at all; `write` makes it at the path that it is given."""
        ...

    def sizes(self) -> dict[str, int]:
        """The tars that are there, by name, with their bytes; where the layout has none, the videos."""
        ...

    def sha256(self, name: str) -> str:
        """The checksum of a tar, read back."""
        ...

    def proofs(self, names: Iterable[str]) -> list[Path]:
        """For the ledger: local files that are there, with the same size, as long as what was put is."""
        ...

    def tidy(self) -> None:
        """Remove what killed writers have left; all others have ended."""
        ...


@dataclass(frozen=True)
class Folder:
    """Files in a folder; they are their own proof."""

    folder: Path
    url: ClassVar[str] = ""

    def put(self, name: str, write: Callable[[Path], T]) -> T:
        return write(self.folder / name)

    def sizes(self) -> dict[str, int]:
        found = (path for kind in _KINDS for path in self.folder.rglob(f"*{kind}"))
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in found}

    def sha256(self, name: str) -> str:
        return size_and_sha256(self.folder / name)[1]

    def proofs(self, names: Iterable[str]) -> list[Path]:
        return [self.folder / name for name in names]

    def tidy(self) -> None:
        _remove_temporaries(self.folder)


@dataclass(frozen=True)
class Prefix:
    """Objects below a prefix: each file is made on scratch and uploaded to its final key.

    The ledger cannot stat an object, so a receipt in the run folder stands for each; `recheck` drops those that no
    longer hold.
    """

    url: str  # ends with a slash
    receipts: Path
    scratch: Path
    store: ObjectStore

    def put(self, name: str, write: Callable[[Path], T]) -> T:
        path, uri = self.scratch / name, self.url + name
        try:
            made = write(path)
            self.store.store(path, uri)
            write_json(self._receipt(name), {"uri": uri, "bytes": path.stat().st_size})
        finally:
            path.unlink(missing_ok=True)
        return made

    def sizes(self) -> dict[str, int]:
        found = {item.uri[len(self.url) :]: item.bytes for item in self.store.objects(self.url)}
        return {name: size for name, size in found.items() if name.endswith(_KINDS)}

    def sha256(self, name: str) -> str:
        path, uri = self.scratch / name, self.url + name
        try:
            self.store.fetch(uri, path, self.store.head(uri).bytes)
            return size_and_sha256(path)[1]
        finally:
            path.unlink(missing_ok=True)

    def proofs(self, names: Iterable[str]) -> list[Path]:
        return [self._receipt(name) for name in names]

    def tidy(self) -> None:
        _remove_temporaries(self.receipts)

    def _receipt(self, name: str) -> Path:
        return self.receipts / f"{name}.json"


def resolve(output: object) -> str | None:
    """The setting `output` as an absolute folder or `s3://bucket/prefix` without a slash at the end; None stays None.

    Raises:
        ConfigError: it is neither.
    """
    if output is None:
        return None
    if not isinstance(output, str) or not output:
        raise ConfigError(f"output={output!r} is no place; give a folder, s3://bucket/prefix, or null: the run folder")
    if not is_store(output):
        return str(Path(output).absolute())
    if not _PREFIX.match(output.rstrip("/")):
        raise ConfigError(
            "output must be s3://bucket/prefix of letters, digits and . _ - = + (no part begins with a dot), because "
            "it stands before the name of every tar in urls.txt; credentials belong in source.profile"
        )
    return output.rstrip("/")


def is_store(output: str | None) -> bool:
    """Whether this is in an object store."""
    return output is not None and output.startswith(_S3)


def place(output: str | None, paths: RunPaths, signature: str) -> str:
    """Where the data set of a pack is: a folder, or a prefix that ends with a slash."""
    if output is None:
        return str(paths.tars(signature))
    return f"{output}/{signature}/" if is_store(output) else str(Path(output) / signature)


def below(output: str | None, name: str) -> str | None:
    """The place `name` inside of an output; None, the run folder, stays None."""
    return output and (f"{output}/{name}" if is_store(output) else str(Path(output) / name))


def deliver_to(at: str, receipts: Path, scratch: Path, settings: SourceSettings) -> Delivery:
    """The delivery to a `place`."""
    return Prefix(at, receipts, scratch, ObjectStore(settings)) if is_store(at) else Folder(Path(at))


def recheck(at: str, receipts: Path, settings: SourceSettings) -> None:
    """List a place in an object store and drop the receipts that it contradicts, so that the ledger asks again.

    Raises:
        ConfigError: there is no such bucket.
        EnvironmentFault: no credentials, or no answer.
    """
    # Receipts first: what is uploaded in between has none yet.
    claimed = {path: read_json(path) for path in receipts.rglob("*.json")}
    there = {item.uri: item.bytes for item in ObjectStore(settings).objects(at)}
    for path, receipt in claimed.items():
        if not receipt or there.get(receipt["uri"]) != receipt["bytes"]:
            path.unlink(missing_ok=True)


def _remove_temporaries(folder: Path) -> None:
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)
