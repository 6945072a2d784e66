"""What can be looked at: videos of a folder or a store, clips of a run as it stands, samples of finished tars.

`open_collection` returns at once; what it lists is listed in the background, so that a hundred thousand files block
nobody. `Collection.catalogue` is what is known now: a table, and by `id` where each row's bytes and picture are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from hpc_curate.browse.media import Media
from hpc_curate.io.s5cmd import SourceSettings

if TYPE_CHECKING:
    from hpc_curate.plan import Plan

Kind = Literal["videos", "run", "tars"]


@dataclass(frozen=True)
class Progress:
    """How far a listing is."""

    found: int  # so far
    done: bool
    error: str | None = None  # why there will be no more; `done` is true then


@dataclass(frozen=True)
class Catalogue:
    """What is known at one moment. `rows` is all, or a random sample where only some were asked for.

    Columns: `id` (letters, digits, - and _ only) and `name` first, then all others.
    Of videos: uri, folder, bytes, container. Of a run, one row for each clip (`what` is "clip"; `id` is its clip_id)
    with every column of `hpc-curate table`: uri, start_s, end_s, state (kept, rejected, failed, pending), reason,
    reasons, error, captions, scores, duplicate_of; and one for each video of which there is no clip (`what` is "video",
    `id` is its video_id) with its state, reason and error. Of tars: tar, bytes, and what the json of each sample says.
    """

    rows: pa.Table
    total: int  # how many there are of which `rows` are some
    collection: Collection

    def media(self, id: str) -> Media:
        return self.collection.media(id)

    def poster(self, id: str) -> bytes | None:
        return self.collection.poster(id)


class Collection:
    """Something that was opened to be looked at; safe to use from several threads. `close` it at the end."""

    kind: Kind
    of: str  # what was opened, as it was given
    plan: Plan | None = None  # of a run: for search, thresholds and verdicts

    def progress(self) -> Progress:
        raise NotImplementedError

    def catalogue(self, count: int | None = None, seed: int = 0) -> Catalogue:
        """What there is now, of a running run each time anew; as long as `progress` is not done, of what was found.

        Args:
            count: a seeded random sample of so many, in random order; None: everything, in its own order.

        Raises:
            ConfigError: there is nothing to look at (`progress().error`).
        """
        raise NotImplementedError

    def media(self, id: str) -> Media:
        """Where the bytes of a row are. Any row of any catalogue of this collection.

        Raises:
            KeyError: there is no such row.
            BadInput: there are no bytes to be had.
        """
        raise NotImplementedError

    def playable(self, id: str) -> Media:
        """The same as a browser can play it: `media`, where its container is one of those; else the beginning of it
        (or the clip) as small H.264, made now, which takes seconds.

        Raises:
            KeyError: there is no such row.
            BadInput: it cannot be decoded.
        """
        raise NotImplementedError

    def poster(self, id: str) -> bytes | None:
        """A JPEG of about 480 pixels, from the frame pack where there is one, else decoded; None: there is none.

        Raises:
            KeyError: there is no such row.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End what is under way and remove what was made on the way."""


def open_collection(of: str, settings: SourceSettings | None = None) -> Collection:
    """A run folder, a folder of tars, or what `input=` takes: a folder, a list, a table, s3://bucket/prefix.

    Raises:
        ConfigError: it is none of these, or not there.
    """
    raise NotImplementedError
