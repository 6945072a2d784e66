"""Which clips show the same kind of thing, so that selection can hold back what there is too much of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.embeddings import one_model, vectors
from hpc_curate.clips.neighbours import Rows, centroids, nearest_clusters
from hpc_curate.stage import Merge, Resources, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

ROWS = pa.schema([("clip_id", pa.string()), ("cluster", pa.int32()), ("cluster_similarity", pa.float32())])

_DIGITS = 4
_BLOCK = 1 << 16  # rows as float64 at once


@dataclass(frozen=True)
class Clusters(Merge):
    """Spherical k-means over the embeddings of all clips: concepts without names.

    Published counts differ: 100 (Wan), about 10,000 (HunyuanVideo), 120,000 (Step-Video). A number means nothing by
    itself, and other clips make other clusters. `select` reads it for quotas and sampling weights.

    Columns: `cluster`, from 0; `cluster_similarity`, the cosine to the centre of the cluster, 4 digits. Null for a clip
    without an embedding.
    """

    name: ClassVar[str] = "clusters"

    count: int | None = None  # of clusters; null: the square root of the number of clips
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"count={self.count} must be at least 1")

    def reads(self) -> tuple[str, ...]:
        return ("embedding", "embedding_model")

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": ROWS}

    def load(self, resources: Resources) -> None:
        import faiss

        faiss.omp_set_num_threads(resources.cpus)

    def run(self, model: None, inputs: Inputs) -> Tables:
        clips = inputs.clips(self.reads(), sorted(inputs.kept()))
        one_model(clips["embedding_model"])
        usable, found = vectors(clips["embedding"])
        cluster, similarity = np.zeros(len(clips), np.int32), np.zeros(len(clips), np.float32)
        if len(usable):
            cluster[usable], similarity[usable] = self._clustered(Rows(found))
        absent = np.ones(len(clips), dtype=bool)
        absent[usable] = False
        columns = [clips["clip_id"], pa.array(cluster, mask=absent), pa.array(similarity, mask=absent)]
        return {"rows": pa.table(columns, schema=ROWS)}

    def _clustered(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """int [N] and float [N]: the nearest centre of each row, and the cosine to it."""
        count = min(self.count or max(1, round(len(rows) ** 0.5)), len(rows))
        centres = centroids(rows, count, self.seed)
        nearest = nearest_clusters(rows, centres, 1)[:, 0]
        cosines = np.zeros(len(rows))
        for start in range(0, len(rows), _BLOCK):
            block = np.arange(start, min(start + _BLOCK, len(rows)))
            # In float64 and row by row, so that it is the same for every number of threads.
            cosines[block] = np.einsum("ij,ij->i", rows.take(block).astype(np.float64), centres[nearest[block]])
        return nearest, np.round(cosines, _DIGITS)
