"""Clips of a run by words, or by likeness to another clip: exact, over any number of rows, a chunk at a time."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpc_curate import plan as plans
from hpc_curate import units
from hpc_curate.clips.embeddings import refuse_other, vectors
from hpc_curate.errors import ConfigError
from hpc_curate.plan import Plan
from hpc_curate.records import video_of
from hpc_curate.report.text import aligned, plain
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.lookup import columns_of
from hpc_curate.run_folder.state import State
from hpc_curate.stage import Resources

_ROWS = 8192  # vectors in memory at once
_DIGITS = 4


@dataclass(frozen=True)
class Query:
    """What is looked for."""

    said: str  # in messages
    vector: np.ndarray  # float32 [D], of length one
    model: str  # clips.embeddings
    without: str | None = None  # the clip that it came from


def search(given: argparse.Namespace) -> int:
    """Print the clips that are nearest to a text or to a clip."""
    if (given.text is None) == (given.like is None):
        raise ConfigError('give either words, hpc-curate search RUN "a red car at night", or --like CLIP_ID')
    plan = plans.load_latest(given.run, given.plan)
    if "embedding" not in plan.writers:
        raise ConfigError(f"the recipe of plan {plan.hash} has no embeddings; add stage embed")
    query = of_text(plan, given.text) if given.like is None else of_clip(plan, given.like)
    found = described(plan, nearest_clips(plan, query, given.top))
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    lines = [[row["clip_id"], plain(row["uri"]), f"{row['similarity']:.4f}", f"{row['start_s']:.2f}"] for row in found]
    print(aligned([["clip_id", "uri", "similarity", "start_s"], *lines], left=2))
    return 0


def knows_words(plan: Plan) -> bool:
    """Whether the model that embedded the clips has a text tower."""
    return getattr(plan.steps[plan.writers["embedding"]].stage, "model", None) == "open_clip"


def of_text(plan: Plan, text: str) -> Query:
    """Words, through the text tower of the model that the clips were embedded with.

    Raises:
        ConfigError: that model has none.
    """
    embed: Any = plan.steps[plan.writers["embedding"]].stage
    if not knows_words(plan):
        raise ConfigError(
            "words find clips that were embedded with stage.embed.model=open_clip only; this run has "
            f"{getattr(embed, 'model', embed.name)}: use --like CLIP_ID"
        )
    from hpc_curate.models import open_clip_text

    resources = Resources(cpus=len(os.sched_getaffinity(0)))
    tower = open_clip_text.load(embed.architecture, Path(embed.weights_path), resources)
    return Query(repr(text), tower.encode([text])[0], embed.about()["embedding_model"])


def of_clip(plan: Plan, clip: str) -> Query:
    """The embedding of a clip of the run.

    Raises:
        ConfigError: it has none.
    """
    [row] = columns_of(plan, [clip], ["embedding", "embedding_model"]).to_pylist()
    if row["embedding"] is None:
        raise ConfigError(f"{clip} has no embedding in this run: it is not a clip of it, was gated, or is not done yet")
    vector = np.array(row["embedding"], np.float32)
    return Query(clip, vector / np.linalg.norm(vector), row["embedding_model"], clip)


def nearest_clips(plan: Plan, query: Query, top: int) -> list[tuple[str, float]]:
    """Ids and cosines of the `top` nearest clips, best first; equally near ones in the order of their ids.

    Raises:
        ConfigError: the run's vectors are of another model than the query.
    """
    best: list[tuple[float, str]] = []
    for batch in _batches(plan):
        refuse_other(f"search for {query.said}", query.model, batch["embedding_model"])
        rows, found = vectors(batch["embedding"])
        cosines = found.astype(np.float32) @ query.vector
        # One more than asked for, because the clip itself may be among them; ties of the last place are settled by id.
        least = np.sort(cosines)[-(top + 1) :].min(initial=np.inf)
        at = np.flatnonzero(cosines >= least)
        ids = batch["clip_id"].take(pa.array(rows[at], pa.int64())).to_pylist()
        best += [(-float(cosines[row]), clip) for row, clip in zip(at, ids, strict=True)]
        best = sorted(pair for pair in best if pair[1] != query.without)[:top]
    return [(clip, round(-negative, _DIGITS)) for negative, clip in best]


def _batches(plan: Plan) -> Iterator[pa.Table]:
    """The embeddings of all units that are done."""
    state, writer = State(plan, Ledger(plan.paths)), plan.writers["embedding"]
    for record in state.finished(writer):
        for path in state.ledger.outputs(record, "rows"):
            for batch in pq.ParquetFile(path).iter_batches(_ROWS, columns=["clip_id", "embedding", "embedding_model"]):
                yield pa.Table.from_batches([batch])


def described(plan: Plan, found: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Rows of clip_id, similarity, uri and start_s."""
    ids = [clip for clip, _ in found]
    frozen = units.all_videos(plan.paths)
    frozen = frozen.filter(pc.is_in(frozen["video_id"], value_set=pa.array([video_of(clip) for clip in ids])))
    uris = dict(zip(frozen["video_id"].to_pylist(), frozen["uri"].to_pylist(), strict=True))
    starts = columns_of(plan, ids, ["start_s"])["start_s"].to_pylist()
    return [
        {"clip_id": clip, "similarity": similarity, "uri": uris[video_of(clip)], "start_s": start_s}
        for (clip, similarity), start_s in zip(found, starts, strict=True)
    ]
