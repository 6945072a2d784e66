"""Which clips look alike, and how much. Removes nothing: `select` decides, and a new threshold searches nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips.embeddings import family, one_model, valid, vectors
from hpc_curate.clips.hashes import BITS, member_pairs, similar_hashes
from hpc_curate.clips.neighbours import Pairs, Search, similar_pairs
from hpc_curate.inputs import Inputs
from hpc_curate.models import DUPLICATE_SIMILARITY
from hpc_curate.stage import Merge, Resources, Tables

EDGES = pa.schema(
    [
        ("clip_a", pa.string()),  # the smaller id
        ("clip_b", pa.string()),
        ("similarity", pa.float32()),  # 1 at most; each method has its own scale
        ("method", pa.string()),
    ]
)
# What the search was like. `at` is the cosine of `recall`, the lower end of a bin of `histogram`, else null.
STATS = pa.schema([("method", pa.string()), ("statistic", pa.string()), ("at", pa.float64()), ("value", pa.float64())])

_EXACT = ("bytes", "content")
_BIN = 0.01
_HASHED = 1 << 16  # rows that are Python's at a time

Stats = list[dict[str, Any]]


@dataclass(frozen=True)
class Dedup(Merge):
    """Edges between clips that look alike, and the groups they form.

    Methods, cheapest first; a pair that an exact one found is not repeated by the others:

    - `bytes`      the same span of videos with the same sha256 (where scan was asked for checksums); similarity 1.
    - `content`    the same size, duration, frame hashes and embedding, bit for bit; similarity 1.
    - `phash`      mean Hamming distance of the perceptual hashes of at most `max_distance_bits` of 64; similarity
                   1 - distance / 64.
    - `embedding`  cosine of the embeddings, from `floor` up.

    Tables: `edges`; `rows` with `duplicate_group`, the smallest clip_id of a component of edges that count as
    duplicates, null for a clip alone; `dedup_stats` with the counts, the recall measured on planted pairs, the
    thresholds, and a histogram of similarities to choose another threshold by.
    """

    name: ClassVar[str] = "dedup"

    methods: tuple[str, ...] = ("bytes", "content", "phash", "embedding")
    max_distance_bits: float = 6.0
    floor: float = 0.85  # smallest cosine that is written down
    duplicate_similarity: float | None = None  # cosine of a duplicate; null: what suits the embedder
    recall_target: float = 0.99  # of pairs planted at the cosine of a duplicate
    planted_pairs: int = 4000
    max_pairs: int = 20_000_000  # of each method; more is an error
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.methods) - set(_METHODS))
        if unknown:
            raise ValueError(f"there is no method {', '.join(unknown)}; there are {', '.join(_METHODS)}")

    def reads(self) -> tuple[str, ...]:
        return tuple(sorted({name for method in self.methods for name in _NEEDS[method]}))

    def writes(self) -> dict[str, pa.Schema]:
        rows = pa.schema([("clip_id", pa.string()), ("duplicate_group", pa.string())])
        return {"rows": rows, "edges": EDGES, "dedup_stats": STATS}

    def load(self, resources: Resources) -> None:
        import faiss

        faiss.omp_set_num_threads(resources.cpus)

    def run(self, model: Any, inputs: Inputs) -> Tables:
        clips = inputs.clips([name for name in self.reads() if name != "videos"], sorted(inputs.kept()))
        exact = np.zeros(0, np.int64)
        found: dict[str, Pairs] = {}
        stats: Stats = [_stat("all", "rows", len(clips))]
        for method in (name for name in _METHODS if name in self.methods):
            pairs, more = _METHODS[method](self, clips, inputs)
            keys = pairs.a * len(clips) + pairs.b
            found[method] = _only(pairs, ~np.isin(keys, exact))
            if method in _EXACT:
                exact = np.union1d(exact, keys)
            stats += more + _counted(method, found[method])
        limits = {stat["method"]: stat["value"] for stat in stats if stat["statistic"] == "threshold"}
        counting = [_only(pairs, pairs.similarity >= np.float32(limits[name])) for name, pairs in found.items()]
        groups = components(len(clips), counting)
        return {
            "rows": _rows(clips["clip_id"], groups),
            "edges": _edges(clips["clip_id"], found),
            "dedup_stats": pa.Table.from_pylist(stats, schema=STATS),
        }

    def same_bytes(self, clips: pa.Table, inputs: Inputs) -> tuple[Pairs, Stats]:
        videos = inputs.table("videos", ["video_id", "sha256"])
        at = pc.index_in(clips["video_id"], value_set=videos["video_id"].combine_chunks())
        spans = (videos["sha256"].take(at), clips["start_pts"].cast(pa.string()), clips["end_pts"].cast(pa.string()))
        keys = pc.binary_join_element_wise(*spans, "_")  # null where there is no checksum
        return self._equal("bytes", keys.combine_chunks(), np.arange(len(clips)))

    def same_content(self, clips: pa.Table, inputs: Inputs) -> tuple[Pairs, Stats]:
        usable, found = vectors(clips["embedding"])
        keys = [pa.array([], pa.string())]
        for start in range(0, len(usable), _HASHED):
            block = slice(start, start + _HASHED)
            facts = [clips[name].take(usable[block]).to_pylist() for name in ("phash", "duration_s", "width", "height")]
            rows = zip(found[block], *facts, strict=True)
            keys.append(pa.array([_content(vector, values) for vector, *values in rows], pa.string()))
        return self._equal("content", pa.concat_arrays(keys), usable)

    def _equal(self, method: str, keys: pa.Array, rows: np.ndarray) -> tuple[Pairs, Stats]:
        """Pairs of `rows` [N] whose keys [N] are the same; null is like nothing."""
        named, codes = rows[valid(keys)], keys.drop_null().dictionary_encode()
        every = np.arange(len(codes.dictionary))
        a, b, _ = member_pairs(every, every, codes.indices.to_numpy().astype(np.int64), self.max_pairs)
        order = np.lexsort((b, a))
        pairs = Pairs(named[a[order]], named[b[order]], np.ones(len(a), np.float32))
        return pairs, [_stat(method, "rows", len(named)), _stat(method, "threshold", 1.0)]

    def near_hashes(self, clips: pa.Table, inputs: Inputs) -> tuple[Pairs, Stats]:
        usable = valid(clips["phash"])
        column = clips["phash"].take(usable).combine_chunks()
        hashes = np.asarray(pc.list_flatten(column), np.uint64).reshape(len(usable), -1 if len(usable) else 1)
        pairs = similar_hashes(hashes, self.max_distance_bits, self.max_pairs)
        stats = [_stat("phash", "rows", len(usable)), _stat("phash", "threshold", 1 - self.max_distance_bits / BITS)]
        return _of(pairs, usable), stats

    def near_embeddings(self, clips: pa.Table, inputs: Inputs) -> tuple[Pairs, Stats]:
        usable, found = vectors(clips["embedding"])
        threshold = self._threshold(clips["embedding_model"])
        search = Search(
            floor=min(self.floor, threshold),
            planted_cosine=threshold,
            recall_target=self.recall_target,
            planted_pairs=self.planted_pairs,
            max_pairs=self.max_pairs,
            seed=self.seed,
        )
        pairs, clustering = similar_pairs(found, search)
        stats = [
            _stat("embedding", "rows", len(usable)),
            _stat("embedding", "threshold", threshold),
            _stat("embedding", "clusters", clustering.clusters),
            _stat("embedding", "probes", clustering.probes),
            *(_stat("embedding", "recall", recall, cosine) for cosine, recall in clustering.recall.items()),
        ]
        return _of(pairs, usable), stats

    def _threshold(self, models: pa.ChunkedArray) -> float:
        """The cosine from which two clips are duplicates."""
        named = one_model(models)
        if self.duplicate_similarity is not None:
            return self.duplicate_similarity
        return DUPLICATE_SIMILARITY[family(named)] if named else 1.0


Method = Callable[[Dedup, pa.Table, Inputs], tuple[Pairs, Stats]]

# In this order.
_METHODS: dict[str, Method] = {
    "bytes": Dedup.same_bytes,
    "content": Dedup.same_content,
    "phash": Dedup.near_hashes,
    "embedding": Dedup.near_embeddings,
}
_NEEDS = {
    "bytes": ("videos", "video_id", "start_pts", "end_pts"),
    "content": ("duration_s", "width", "height", "phash", "embedding"),
    "phash": ("phash",),
    "embedding": ("embedding", "embedding_model"),
}


def components(count: int, edges: Sequence[Pairs]) -> np.ndarray:
    """int64 [count]: the smallest member of the connected component of each."""
    label = np.arange(count)
    a = np.concatenate([part.a for part in edges] or [label[:0]])
    b = np.concatenate([part.b for part in edges] or [label[:0]])
    while True:
        left, right = label[a], label[b]
        open_ = left != right
        if not open_.any():
            return label
        # The larger root is hung below the smaller, then every path is shortened to its root.
        np.minimum.at(label, np.maximum(left, right)[open_], np.minimum(left, right)[open_])
        while not np.array_equal(shorter := label[label], label):
            label = shorter


def _content(vector: np.ndarray, values: list[Any]) -> str | None:
    """A hash of an embedding and of (phash, duration, width, height); None without a phash."""
    if values[0] is None:
        return None
    return hashlib.blake2b(repr(values).encode() + vector.tobytes(), digest_size=16).hexdigest()


def _of(pairs: Pairs, usable: np.ndarray) -> Pairs:
    """Pairs among the usable rows as pairs among all; `usable` ascends, so the order stays."""
    return Pairs(usable[pairs.a], usable[pairs.b], pairs.similarity)


def _only(pairs: Pairs, mask: np.ndarray) -> Pairs:
    return Pairs(pairs.a[mask], pairs.b[mask], pairs.similarity[mask])


def _stat(method: str, statistic: str, value: float, at: float | None = None) -> dict[str, Any]:
    return {"method": method, "statistic": statistic, "at": at, "value": float(value)}


def _counted(method: str, pairs: Pairs) -> Stats:
    """How many pairs there are, and how many in each bin of similarity that has any."""
    bins, counts = np.unique(np.floor(pairs.similarity.astype(np.float64) / _BIN + 1e-6), return_counts=True)
    histogram = [
        _stat(method, "histogram", n, round(float(low) * _BIN, 4)) for low, n in zip(bins, counts, strict=True)
    ]
    return [_stat(method, "pairs", len(pairs.a)), *histogram]


def _rows(ids: pa.ChunkedArray, groups: np.ndarray) -> pa.Table:
    alone = np.bincount(groups, minlength=len(groups))[groups] == 1
    return pa.table({"clip_id": ids, "duplicate_group": ids.take(pa.array(groups, mask=alone))})


def _edges(ids: pa.ChunkedArray, found: dict[str, Pairs]) -> pa.Table:
    parts = [
        pa.table(
            [
                ids.take(pa.array(pairs.a)),
                ids.take(pa.array(pairs.b)),
                pa.array(pairs.similarity, pa.float32()),
                pa.array([method] * len(pairs.a), pa.string()),
            ],
            schema=EDGES,
        )
        for method, pairs in found.items()
    ]
    return pa.concat_tables([EDGES.empty_table(), *parts])
