"""Tars whose bytes depend on their members only: fixed owner, mode, time and order, for WebDataset readers.

The headers are written here and not by `tarfile`, whose ustar headers changed between Python releases (the device
numbers of plain files), and with them the checksum of every tar. `tarfile` reads each tar back before it is published.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hpc_curate.errors import EnvironmentFault
from hpc_curate.io.tables import publish
from hpc_curate.records import ID_PATTERN

Size = TypeVar("Size", int, np.ndarray)

BLOCK = 512
_EXTENSION = re.compile(r"[a-z0-9]{1,8}\Z")
_NAME_BYTES = 100  # of the name field of a ustar header
_MAX_BYTES = 8 << 30  # what eleven octal digits can say
_END = bytes(2 * BLOCK)


@dataclass(frozen=True)
class Member:
    """One file in a tar. `offset` is that of its first byte of data, so a reader can fetch it alone."""

    extension: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class Sample:
    """The files of one key. What lies from `offset` on for `bytes` bytes, headers and padding too, is itself a tar."""

    key: str
    offset: int
    bytes: int
    sha256: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Tar:
    """A tar as it was published."""

    bytes: int
    sha256: str
    samples: tuple[Sample, ...]


def padded(size: Size) -> Size:
    """The bytes that a member of `size` bytes takes in a tar, with its header; for one size, or an array of them."""
    return BLOCK + -(-size // BLOCK) * BLOCK


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Tar:
    """Publish a tar of samples, in the order given, one sample in memory at a time.

    Args:
        samples: key and data by extension, without the dot. A key is one of `records.ID_PATTERN`: WebDataset splits
            names at the first dot and keeps folders in the key, so other names would run into other samples.

    Raises:
        EnvironmentFault: the disk is full, or what was written does not read back.
        ValueError: a key or an extension that no reader would give back, or a key given twice.
    """
    made: list[Tar] = []

    def write(temporary: Path) -> None:
        made.append(_write(temporary, samples))
        _read_back(temporary, made[0])

    publish(path, write)
    return made[0]


def _write(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Tar:
    total, made, seen = hashlib.sha256(), [], set()
    with path.open("wb") as file:
        for key, files in samples:
            if key in seen:
                raise ValueError(f"the key {key} is given twice")
            seen.add(key)
            own, start, members = hashlib.sha256(), file.tell(), []
            for extension, data in files.items():
                header = _header(key, extension, len(data))
                members.append(Member(extension, file.tell() + BLOCK, len(data)))
                for piece in (header, data, bytes(-len(data) % BLOCK)):
                    file.write(piece)
                    own.update(piece)
                    total.update(piece)
            made.append(Sample(key, start, file.tell() - start, own.hexdigest(), tuple(members)))
        file.write(_END)
        total.update(_END)
        size = file.tell()
    return Tar(size, total.hexdigest(), tuple(made))


def _header(key: str, extension: str, size: int) -> bytes:
    """A POSIX ustar header (IEEE Std 1003.1, pax) of a plain file that belongs to nobody and has no age."""
    if not ID_PATTERN.match(key) or not _EXTENSION.match(extension):
        raise ValueError(f"{key!r}.{extension!r}: keys are letters, digits, - and _; extensions are a-z and digits")
    name = f"{key}.{extension}".encode()
    if len(name) > _NAME_BYTES or size >= _MAX_BYTES:
        raise ValueError(f"{key}.{extension} of {size} bytes does not fit a ustar header")
    fields = [
        name.ljust(_NAME_BYTES, b"\0"),
        *(b"%07o\0" % number for number in (0o644, 0, 0)),  # mode, owner, group
        b"%011o\0" % size,
        b"%011o\0" % 0,  # time
        b" " * 8,  # the checksum counts as spaces
        b"0",  # a plain file
        bytes(100),
        b"ustar\x0000",
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _read_back(path: Path, tar: Tar) -> None:
    """A file system may lose bytes without a word: what another reader finds must be what was written."""
    try:
        with tarfile.open(path, "r:") as archive:
            found = [(info.name, info.offset_data, info.size) for info in archive]
    except tarfile.TarError as error:
        raise EnvironmentFault(f"{path.name} does not read back ({error}); check the disk, then retry") from error
    wrote = [
        (f"{sample.key}.{member.extension}", member.offset, member.bytes)
        for sample in tar.samples
        for member in sample.members
    ]
    if found != wrote or path.stat().st_size != tar.bytes:
        raise EnvironmentFault(
            f"{path.name}: {len(found)} of {len(wrote)} members read back; check the disk, then retry"
        )
