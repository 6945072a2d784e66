"""Where the bytes of a video are, and how a browser gets the part of them that it asks for (RFC 9110, section 14).

Nothing is held in memory but one block: a file is read from the byte that was asked for, an object of a store by a
ranged request.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpc_curate.errors import BadInput
from hpc_curate.io import transfer
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.ranged import RangedReader
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import Video, remote

_BLOCK = 1 << 18
# Of what a browser asks for without an end. It keeps a connection for as long as it has not read all, and has six of
# them: of a page of large videos half would never begin. It asks for the next part when it comes to it.
_AT_ONCE = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
# Those that browsers play, if they know the codec. Most play what is in a .mov, under this name only.
_PLAYED = {"mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/mp4", "webm": "video/webm"}
_OTHER = "video/x-other"  # which none of them tries, and no middleware takes for text and compresses
# A video is no page: whatever its bytes are taken for, nothing in them runs, and no other site may show them.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Media:
    """A part of a file or of an object; `start_s` and `end_s` say which seconds of it are meant (all, if None).

    A page plays those with a media fragment: `/look/media/ID#t=3.5,7.2`.
    """

    uri: str  # a local path, or s3://
    name: str  # below the folder that it was found in, from which no link may lead out
    content_type: str
    offset: int = 0  # bytes; of an mp4 inside a tar
    bytes: int | None = None  # None: to the end
    start_s: float | None = None
    end_s: float | None = None

    @property
    def fragment(self) -> str:
        """`#t=3.5,7.2`, or nothing: for the end of a URL."""
        return "" if self.start_s is None or self.end_s is None else f"#t={self.start_s:.3f},{self.end_s:.3f}"


@dataclass(frozen=True)
class Answer:
    """What is sent to the browser: 200, 206 or 416."""

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]  # empty for HEAD


def content_type(name: str) -> str:
    """By the name's extension; what browsers do not play has a type of which they know that."""
    return _PLAYED.get(name.rpartition(".")[2].lower(), _OTHER)


class Streams:
    """Opens media; safe to use from several threads."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._store = ObjectStore(settings)
        self._ranges = RangedReader(self._store)

    def answer(self, media: Media, asked: str | None = None, head: bool = False) -> Answer:
        """The answer to a request.

        Args:
            asked: the header Range. One range is sent; several, or what nobody understands, get the whole.
            head: whether only the headers are asked for, to which Range does not apply.

        Raises:
            BadInput: there are no such bytes, or they may not be shown.
            EnvironmentFault: the file system or the store does not answer.
        """
        size = self.size(media)
        part = None if head else _part(asked, size)
        headers = {**HEADERS, "accept-ranges": "bytes", "content-type": media.content_type}
        if part is not None and part[0] >= part[1]:
            return Answer(416, {**headers, "content-range": f"bytes */{size}", "content-length": "0"}, iter(()))
        start, end = part or (0, size)
        if part and (asked or "").endswith("-"):
            end = min(end, start + _AT_ONCE)
        headers["content-length"] = str(end - start)
        if part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        body = iter(()) if head else self.blocks(media, start, end - start)
        return Answer(206 if part else 200, headers, body)

    def size(self, media: Media) -> int:
        """Bytes.

        Raises:
            BadInput: there is no such thing, or less than there should be.
            EnvironmentFault: the store does not answer.
        """
        if remote(media.uri):
            return self._store.head(media.uri).bytes - media.offset if media.bytes is None else media.bytes
        with self._file(media) as file:
            there = os.fstat(file.fileno()).st_size - media.offset
        if there < (media.bytes or 0):
            raise BadInput(f"{media.name}: cut off, {media.bytes} bytes at {media.offset} are not there")
        return there if media.bytes is None else media.bytes

    def blocks(self, media: Media, start: int, count: int) -> Iterator[bytes]:
        """So many bytes of it, a block at a time.

        Raises:
            BadInput: there is no such thing.
            EnvironmentFault: the store does not answer.
        """
        if remote(media.uri):
            return self._ranges.blocks(media.uri, media.offset + start, count)
        return _blocks(self._file(media), media.offset + start, count)

    def path(self, media: Media) -> Path:
        """The file that it is in.

        Raises:
            BadInput: it is gone, no regular file, or leads out of the folder that was opened.
        """
        return transfer.checked(Video("", media.uri, media.name, -1, ""), self._settings.follow_links)

    def close(self) -> None:
        """End what is under way."""
        self._store.stop()

    def _file(self, media: Media) -> IO[bytes]:
        real = os.path.realpath(self.path(media))
        try:
            # What has become a link since is not followed, and what has become a pipe does not wait.
            handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BadInput(f"{media.name}: cannot be opened: {error.strerror}") from error
        file = os.fdopen(handle, "rb", buffering=0)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            file.close()
            raise BadInput(f"{media.name}: not a regular file")
        return file


def _blocks(file: IO[bytes], start: int, count: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while count and (block := file.read(min(count, _BLOCK))):
            count -= len(block)
            yield block


def _part(asked: str | None, size: int) -> tuple[int, int] | None:
    """The bytes from and up to which a Range asks for; empty where there are none, None for all."""
    found = _RANGE.match((asked or "").replace(" ", ""))
    if not found or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1 if last else size)
