"""What can be looked at: videos of a folder or a store, clips of a run as it stands, samples of finished tars.

`open_collection` returns at once (in a store it first looks for the index of finished tars); what it lists is listed
in the background, so that a hundred thousand files block nobody. `Collection.catalogue` is what is known now: a table,
and by `id` where each row's bytes and picture are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import pyarrow as pa

from hpc_curate.browse.media import Media, Streams
from hpc_curate.browse.renditions import Renditions
from hpc_curate.errors import ConfigError
from hpc_curate.io.paths import is_run
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.preview import sample
from hpc_curate.sources import absolute

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
    Of videos: uri, folder, bytes, container, and what the input says of them. Of a run, one row for each clip (`what`
    is "clip"; `id` is its clip_id) with every column of `hpc-curate table`: uri, start_s, end_s, state (kept, rejected,
    failed, pending), reason, reasons, error, captions, scores, duplicate_of; and one for each video of which there is
    no clip (`what` is "video", `id` is its video_id) with its state, reason and error. Of tars the same as of videos:
    `folder` is the tar, `id` the sample's key, and its json is what the input says; of tars in a store tar and bytes.
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
    plan: Plan | None = None  # of a run: for search, thresholds and verdicts

    def __init__(self, of: str, settings: SourceSettings) -> None:
        self.of = of  # what was opened, as it was given
        self.settings = settings
        self.streams = Streams(settings)
        self._renditions = Renditions(self.streams)

    def progress(self) -> Progress:
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Until something was found or it is clear that there is nothing, but no longer than this."""

    def catalogue(self, count: int | None = None, seed: int = 0) -> Catalogue:
        """What there is now, of a running run each time anew; as long as `progress` is not done, of what was found.

        Args:
            count: a seeded random sample of so many, in random order; None: everything, in its own order.

        Raises:
            ConfigError: there is nothing to look at (`progress().error`).
        """
        raise NotImplementedError

    def look_again(self) -> None:
        """Have the next catalogue show what has come since: of a run its newest plan, unless one was named."""

    def media(self, id: str) -> Media:
        """Where the bytes of a row are. Any row of any catalogue of this collection.

        Raises:
            KeyError: there is no such row.
            BadInput: there are no bytes to be had.
        """
        raise NotImplementedError

    def playable(self, id: str) -> Media:
        """The same as every browser plays it: its seconds, or its first ones, as small H.264 without sound, made now.

        Raises:
            KeyError: there is no such row.
            BadInput: it cannot be decoded, or is too large to be brought here.
            EnvironmentFault: the store does not answer.
        """
        return self._renditions.playable(id, self.media(id))

    def poster(self, id: str) -> bytes | None:
        """A JPEG, 480 pixels wide, from the frame pack where there is one, else decoded; None: there is none, or the
        video would have to be brought here first.

        Raises:
            KeyError: there is no such row.
        """
        return self._renditions.poster(id, self.media(id))

    def close(self) -> None:
        """End what is under way and remove what was made on the way."""
        self.streams.close()
        self._renditions.close()


def drawn(rows: pa.Table, count: int | None, seed: int) -> pa.Table:
    """A random sample of rows; all in their own order, if `count` is None."""
    return rows if count is None else rows.take(pa.array(sample.some(rows.num_rows, count, seed)))


def open_collection(of: str, settings: SourceSettings | None = None, plan_hash: str | None = None) -> Collection:
    """A run folder, tars in a folder or a store, or what `input=` takes: a folder, a list, a table, s3://bucket/prefix.

    Args:
        plan_hash: of a run, or its first digits; None: its last plan, and those that follow.

    Raises:
        ConfigError: it is none of these, or not there.
        EnvironmentFault: the store does not answer.
    """
    from hpc_curate.browse.run_clips import RunClips
    from hpc_curate.browse.samples import Samples, index_of
    from hpc_curate.browse.videos import Videos

    settings = settings or SourceSettings()
    if plan_hash and ("://" in of or not is_run(absolute(of))):
        raise ConfigError(f"--plan {plan_hash}: {of} is no run folder, and has no plans")
    if of.startswith("s3://") and (index := index_of(of, settings)) is not None:
        return Samples(of, settings, index)
    if "://" in of:
        return Videos(of, of, settings)
    path = absolute(of)
    if not path.exists():
        raise ConfigError(f"{of}: no such file or folder")
    if is_run(path):
        from hpc_curate import plan as plans
        from hpc_curate.run_folder import books

        plan = plans.load_latest(path, plan_hash)
        return RunClips(of, settings, plan, plan_hash) if books.has_clips(plan) else Videos(of, of, settings)
    return Videos(of, f"wds://{quote(os.fsencode(path))}" if _has_tars(path) else of, settings)


def runs_in(of: str) -> list[Path]:
    """The run folders in a folder."""
    return [] if "://" in of else sorted(plans.parent for plans in absolute(of).glob("*/plans") if plans.is_dir())


def _has_tars(path: Path) -> bool:
    if path.suffix == ".tar":
        return True
    return path.is_dir() and any(entry.name.endswith(".tar") for entry in os.scandir(path))
