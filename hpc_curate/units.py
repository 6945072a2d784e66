"""Units: the input, frozen once into numbered slices of about equal bytes.

The first freeze writes RUN/units/00000.parquet. Later ones append the videos that are new as units with new numbers in
a file of their own; what is frozen stays as it is.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpc_curate.element.faults import environment_faults
from hpc_curate.io.paths import RunPaths
from hpc_curate.io.tables import read_table, write_table
from hpc_curate.records import UNITS, Video, video_id

_ROW_GROUP = 4096  # what a worker reads to find its unit


@dataclass(frozen=True)
class Frozen:
    """What a freeze found."""

    units: int  # in all
    videos: int  # in all
    added: int  # videos that are new
    repeated: tuple[str, ...]  # URIs that the input names more than once; each is one video
    changed: tuple[str, ...]  # URIs whose size or version is not the frozen one; scan and cut refuse them


def freeze(paths: RunPaths, entries: pa.Table, *, unit_gb: float, unit_videos: int) -> Frozen:
    """Give every new URI a unit. Two at once are safe: the one that comes second sees what the first has frozen.

    Args:
        entries: a table of `sources.ENTRIES`.
        unit_gb: source bytes in a unit, about; a longer video is a unit of its own.
        unit_videos: videos in a unit, at most.
    """
    while True:
        files = _files(paths)
        found, new = _added(files, entries, unit_gb, unit_videos)
        if not new.num_rows or _append(paths.units_file(len(files)), new):
            return found


def foresee(paths: RunPaths, entries: pa.Table, *, unit_gb: float, unit_videos: int) -> tuple[Frozen, pa.Table]:
    """What `freeze` would find, and every video with its unit (`UNITS`) as it would be then; nothing is written."""
    found, new = _added(_files(paths), entries, unit_gb, unit_videos)
    return found, pa.concat_tables([all_videos(paths), new])


def _added(files: list[Path], entries: pa.Table, unit_gb: float, unit_videos: int) -> tuple[Frozen, pa.Table]:
    """What a freeze finds, and the rows of `UNITS` that it adds."""
    entries, repeated = _unique(entries)
    frozen = read_table(files, ("uri", "bytes", "version", "unit"), UNITS)
    first = 0 if frozen.num_rows == 0 else pc.max(frozen["unit"]).as_py() + 1
    place = pc.index_in(entries["uri"], value_set=frozen["uri"].combine_chunks())
    known = pc.is_valid(place)
    new = entries.filter(pc.invert(known))
    numbers = _balanced(new, unit_gb, unit_videos) + first if new.num_rows else np.empty(0, dtype=np.int64)
    units = int(numbers.max()) + 1 if new.num_rows else first
    changed = _changed(entries.filter(known), frozen.take(place.drop_null()))
    found = Frozen(units, frozen.num_rows + new.num_rows, new.num_rows, repeated, changed)
    return found, _rows(new, numbers)


def read(paths: RunPaths, unit: int) -> list[Video]:
    """The videos of a unit, in their frozen order; only the row groups that can hold it are read."""
    return _videos(_filtered(paths, ("unit", "=", unit), UNITS.names))


def read_first(paths: RunPaths, units: int) -> list[Video]:
    """The videos of the first `units` units."""
    return _videos(_filtered(paths, ("unit", "<", units), UNITS.names))


def _videos(rows: pa.Table) -> list[Video]:
    return [
        Video(row["video_id"], row["uri"], row["name"], row["bytes"], row["version"], json.loads(row["extra"]))
        for row in rows.to_pylist()
    ]


def count(paths: RunPaths) -> int:
    """How many units there are."""
    files = _files(paths)
    return pc.max(read_table(files[-1:], ("unit",))["unit"]).as_py() + 1 if files else 0


def all_videos(paths: RunPaths) -> pa.Table:
    """Every frozen video, sorted by unit: a table of `UNITS`."""
    return read_table(_files(paths), UNITS.names, UNITS)


def content(paths: RunPaths, units: int) -> str:
    """SHA-256 of what is known of the videos of the first `units` units: sizes, versions and the user's columns."""
    frozen = all_videos(paths)
    frozen = frozen.filter(pc.less(frozen["unit"], units)).sort_by("video_id").combine_chunks()
    total = hashlib.sha256()
    for name in ("video_id", "name", "bytes", "version", "extra"):
        total.update("\0".join(map(str, frozen[name].to_pylist())).encode())
    return total.hexdigest()


def unit_of(paths: RunPaths, videos: Collection[str]) -> dict[str, int]:
    """The unit of each video id."""
    rows = _filtered(paths, ("video_id", "in", set(videos)), ("video_id", "unit")) if videos else None
    return dict(zip(*rows.to_pydict().values(), strict=True)) if rows else {}


def _files(paths: RunPaths) -> list[Path]:
    return sorted(paths.units.glob("[0-9]*.parquet"))


def _filtered(paths: RunPaths, condition: tuple[str, str, object], columns: Iterable[str]) -> pa.Table:
    with environment_faults(str(paths.units)):
        tables = [pq.read_table(file, columns=list(columns), filters=[condition]) for file in _files(paths)]
    return pa.concat_tables(tables) if tables else UNITS.empty_table().select(list(columns))


def _unique(entries: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """The first entry of each URI, and the URIs that come more than once."""
    numbered = pa.table({"uri": entries["uri"], "row": pa.array(np.arange(entries.num_rows))})
    groups = numbered.group_by("uri").aggregate([("row", "min"), ("row", "count")])
    if groups.num_rows == entries.num_rows:
        return entries, ()
    repeated = groups.filter(pc.greater(groups["row_count"], 1))["uri"].to_pylist()
    return entries.take(np.sort(groups["row_min"].to_numpy())), tuple(sorted(repeated))


def _changed(entries: pa.Table, frozen: pa.Table) -> tuple[str, ...]:
    """URIs whose size or version is known on both sides and differs; the rows of both tables belong together."""
    other = pc.and_(
        pc.not_equal(entries["bytes"], frozen["bytes"]),
        pc.and_(pc.greater_equal(entries["bytes"], 0), pc.greater_equal(frozen["bytes"], 0)),
    )
    newer = pc.and_(
        pc.not_equal(entries["version"], frozen["version"]),
        pc.and_(pc.not_equal(entries["version"], ""), pc.not_equal(frozen["version"], "")),
    )
    return tuple(entries.filter(pc.or_(other, newer))["uri"].to_pylist())


def _balanced(entries: pa.Table, unit_gb: float, unit_videos: int) -> np.ndarray:
    """A unit for each entry, int64 [N] from 0: the longest first, each to the unit that has the fewest bytes yet."""
    sizes = entries["bytes"].to_numpy().astype(np.float64)  # float64 [N]
    known = sizes[sizes >= 0]
    sizes[sizes < 0] = known.mean() if len(known) else 0.0
    bins = max(1, math.ceil(sizes.sum() / (unit_gb * 1e9)), math.ceil(len(sizes) / unit_videos))
    bins = min(bins, len(sizes))
    by_uri = pc.sort_indices(entries["uri"]).to_numpy()
    order = by_uri[np.argsort(-sizes[by_uri], kind="stable")]  # equal sizes: by URI, so that the input's order is free
    units = np.empty(len(sizes), dtype=np.int64)
    members = [0] * bins
    heap = [(0.0, unit) for unit in range(bins)]
    for entry, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        load, unit = heap[0]
        units[entry] = unit
        members[unit] += 1
        if members[unit] < unit_videos:
            heapq.heapreplace(heap, (load + size, unit))
        else:
            heapq.heappop(heap)
    return units


def _rows(entries: pa.Table, units: np.ndarray) -> pa.Table:
    ids = pa.array([video_id(uri) for chunk in entries["uri"].chunks for uri in chunk.to_pylist()], pa.string())
    rows = entries.append_column("unit", pa.array(units, pa.int32())).append_column("video_id", ids)
    return rows.select(UNITS.names).sort_by([("unit", "ascending"), ("uri", "ascending")])


def _append(target: Path, rows: pa.Table) -> bool:
    """Publish a new file of units; False where another planner was first, whose file stays."""
    mine = target.with_name(f".{target.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        write_table(mine, rows, UNITS, _ROW_GROUP)
        with environment_faults(str(target)):
            os.link(mine, target)  # unlike a rename it never replaces
    except FileExistsError:
        return False
    finally:
        mine.unlink(missing_ok=True)
    return True
