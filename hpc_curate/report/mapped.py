"""The clips of a run on the map: which of them, where, and in which colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.clips.embeddings import vectors
from hpc_curate.inputs import Inputs
from hpc_curate.plural import counted
from hpc_curate.report.charts import short
from hpc_curate.report.embedding_map import Colouring, draw, plane
from hpc_curate.report.markup import Markup
from hpc_curate.run_folder.accounting import FAILED, KEPT, PENDING, REJECTED
from hpc_curate.stages.select import DUPLICATE

_FEW = 3  # points, below which there is nothing to see
_CLUSTERS = 11  # with a colour of their own in report.css; the rest shares one
_FIFTHS = 5
_OTHERS = "others"
_SCORES = ("aesthetic", "aesthetic_proxy", "utility")  # what people ask for first, where it is there


def of_clips(inputs: Inputs, clips: pa.Table, points: int, seed: int) -> tuple[Markup, str] | None:
    """The map, and what to say of it; None where there are no embeddings.

    Args:
        clips: accounting.clip_rows.
        points: at most; of more clips some are drawn, by chance.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(clips.num_rows)[:points])
    some = clips.take(pa.array(chosen))
    if not some.num_rows or not inputs.has("embedding"):
        return None
    usable, found = vectors(inputs.clips(["embedding"], some["clip_id"].to_pylist())["embedding"])
    if len(usable) < _FEW or found.shape[1] < 2:
        return None
    places, explained = plane(found, seed)
    some = some.take(pa.array(usable))
    drawn = draw(places, _names(some), _colourings(some))
    of = f" of {clips.num_rows:,}" if clips.num_rows > some.num_rows else ""
    return drawn, (
        f"{counted(some.num_rows, 'clip')}{of}, placed by the first two principal components of their embeddings, "
        f"which hold {100 * explained:.0f} % of the variance: what lies apart differs, what lies together need not be "
        "alike. The pointer names clips."
    )


def _names(clips: pa.Table) -> list[str]:
    columns = [clips[name].to_pylist() for name in ("name", "start_s", "end_s", "state", "reason")]
    return [
        f"{name}, {start:.2f} to {end:.2f} s: {reason or state}"
        for name, start, end, state, reason in zip(*columns, strict=True)
    ]


def _colourings(clips: pa.Table) -> list[Colouring]:
    found = [_by_cluster(clips), _by_state(clips), *_by_score(clips)]
    return [colouring for colouring in found if colouring is not None]


def _by_cluster(clips: pa.Table) -> Colouring | None:
    if "cluster" not in clips.column_names or clips["cluster"].null_count == clips.num_rows:
        return None
    cluster = pc.fill_null(clips["cluster"], -1).to_numpy()
    known, counts = np.unique(cluster[cluster >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    largest = known[order[:_CLUSTERS]]
    of = np.where(np.isin(cluster, largest), cluster, -1)
    groups: dict[int, tuple[str, str]] = {}
    if rest := int((of < 0).sum()):
        groups[-1] = (_OTHERS, f"other clusters: {rest:,}")
    for at, name in enumerate(largest.tolist()):
        groups[name] = (f"c{at}", f"cluster {name}: {int((of == name).sum()):,}")
    return Colouring("cluster", of, groups)


def _by_state(clips: pa.Table) -> Colouring:
    state = np.array(clips["state"].to_pylist())
    state[pc.fill_null(pc.equal(clips["reason"], DUPLICATE), False).to_numpy()] = "dup"
    looks = {PENDING: "pending", REJECTED: "rejected", "dup": "duplicate", FAILED: "failed", KEPT: "kept"}
    of = np.array([list(looks).index(one) for one in state.tolist()])
    counts = [int((of == at).sum()) for at in range(len(looks))]
    groups = {at: (look, f"{look}: {counts[at]:,}") for at, look in enumerate(looks.values()) if counts[at]}
    return Colouring("what became of it", of, groups)


def _by_score(clips: pa.Table) -> Sequence[Colouring]:
    """By fifths of the first score that is there and varies."""
    for name in _SCORES:
        values = rules.numbers(clips[name]) if name in clips.column_names else None
        if values is not None and not np.isnan(values).all():
            known = values[~np.isnan(values)]
            bounds = np.percentile(known, np.linspace(0, 100, _FIFTHS + 1))
            if bounds[0] < bounds[-1]:
                of = np.where(np.isnan(values), -1, np.searchsorted(bounds[1:-1], values, side="right"))
                ends = [f"{short(low)} to {short(high)}" for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
                groups = {at: (f"q{at}", f"{text}") for at, text in enumerate(ends)}
                return [Colouring(name, of, {-1: (_OTHERS, "no value"), **groups} if (of < 0).any() else groups)]
    return []
