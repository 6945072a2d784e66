"""How long, how large and how wide clips and videos are, in a few bars each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.report import charts
from hpc_curate.report.document import count
from hpc_curate.report.markup import Child, Markup, table, tag
from hpc_curate.report.text import clock, size
from hpc_curate.run_folder.accounting import KEPT

_ROWS = 10  # of a table, the most frequent ones
# The shapes that pictures are made in; what lies between two is called by the nearer one.
_ASPECTS = {"9:16": 9 / 16, "3:4": 3 / 4, "1:1": 1.0, "4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9, "21:9": 21 / 9}


def lengths(clips: pa.Table) -> Markup | None:
    """A histogram of seconds, of clips that are kept and of the others."""
    seconds, kept = clips["duration_s"].to_numpy(), _kept(clips)
    if not len(seconds):
        return None
    return charts.histogram(charts.axis(seconds, []), seconds[kept], seconds[~kept], [])


def resolutions(clips: pa.Table) -> Markup | None:
    """Clips by the size of their video's picture."""
    if not {"width", "height"} <= set(clips.column_names):
        return None
    sides = [pc.cast(clips[side], pa.string()) for side in ("width", "height")]
    return _shares("pixels", pc.binary_join_element_wise(*sides, " × "), clips)


def aspects(clips: pa.Table) -> Markup | None:
    """Clips by the shape of their picture, without black borders where those were looked for."""
    sides = next((two for two in (("crop_w", "crop_h"), ("width", "height")) if {*two} <= {*clips.column_names}), None)
    if sides is None:
        return None
    width, height = (pc.fill_null(pc.cast(clips[side], pa.float64()), 0.0).to_numpy() for side in sides)
    known = (width > 0) & (height > 0)
    ratio = np.log(np.where(known, width, 1.0) / np.where(known, height, 1.0))
    nearest = np.abs(ratio[:, None] - np.log(list(_ASPECTS.values()))).argmin(axis=1)
    return _shares("nearest shape", pa.array(np.array(list(_ASPECTS))[nearest], mask=~known), clips)


def inputs(videos: pa.Table) -> Markup:
    """Videos, hours and bytes by container and codec."""
    kinds = {"what": _kind(videos), "bytes": videos["bytes"], "duration_s": videos["duration_s"]}
    sums = pa.table(kinds).group_by("what").aggregate([([], "count_all"), ("bytes", "sum"), ("duration_s", "sum")])
    often = sums.sort_by([("count_all", "descending"), ("what", "ascending")]).to_pylist()
    rows = [
        [row["what"], count(row["count_all"]), _clock(row["duration_s_sum"]), size(row["bytes_sum"] or 0)]
        for row in often[:_ROWS]
    ]
    if rest := often[_ROWS:]:
        seconds, held = (sum(row[name] or 0 for row in rest) for name in ("duration_s_sum", "bytes_sum"))
        rows.append(["others", count(sum(row["count_all"] for row in rest)), _clock(seconds), size(int(held))])
    return table(["codec in container", "videos", "h:mm:ss", "size"], rows)


def _clock(seconds: float | None) -> str:
    """Of videos none of which could be looked into nobody knows."""
    return clock(None if seconds is None else seconds / 3600)


def _kind(videos: pa.Table) -> pa.Array | pa.ChunkedArray:
    """`h264 in mov,mp4`; of a video that nobody could look into, that."""
    parts = [videos[name] if name in videos.column_names else None for name in ("codec", "container")]
    if parts[0] is None or parts[1] is None:
        return pa.nulls(videos.num_rows, pa.string()).fill_null("unknown")
    return pc.fill_null(pc.binary_join_element_wise(*(pc.cast(one, pa.string()) for one in parts), " in "), "unknown")


def _shares(head: str, values: pa.Array | pa.ChunkedArray, clips: pa.Table) -> Markup | None:
    """A bar for each value: the kept clips and the others."""
    sums = pa.table({"value": pc.fill_null(values, "unknown"), "kept": _kept(clips)}).group_by("value")
    found = sums.aggregate([([], "count_all"), ("kept", "sum")])
    often = found.sort_by([("count_all", "descending"), ("value", "ascending")]).to_pylist()
    if not often:
        return None
    most = often[0]["count_all"]
    rows: list[list[Child]] = []
    for row in often[:_ROWS]:
        others = row["count_all"] - row["kept_sum"]
        rows.append([row["value"], _bar(row["kept_sum"], others, most), count(row["kept_sum"]), count(others)])
    if rest := often[_ROWS:]:
        kept, every = (sum(row[name] for row in rest) for name in ("kept_sum", "count_all"))
        rows.append([f"{len(rest):,} others", None, count(kept), count(every - kept)])
    return table([head, "", "kept", "not"], rows, texts=2)


def _bar(kept: int, others: int, most: int) -> Markup:
    parts = {"kept": kept, "other": others}
    drawn = [tag("i", class_=name, style=f"width:{100 * n / most:.2f}%") for name, n in parts.items() if n]
    return tag("div", drawn, class_="bars")


def _kept(clips: pa.Table) -> np.ndarray:
    """bool [N]"""
    return pc.equal(clips["state"], KEPT).to_numpy()
