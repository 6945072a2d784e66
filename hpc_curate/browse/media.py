"""Where the bytes of a video are, and how a browser gets the part of them that it asks for (RFC 9110, section 14).

Nothing is held in memory but one block: a file is read from the byte that was asked for, an object of a store by a
ranged request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Media:
    """A part of a file or of an object; `start_s` and `end_s` say which seconds of it are meant (all, if None).

    A page plays those with a media fragment: `/media/ID#t=3.5,7.2`.
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
        raise NotImplementedError


@dataclass(frozen=True)
class Answer:
    """What is sent to the browser: 200, 206 or 416."""

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]  # empty for HEAD
