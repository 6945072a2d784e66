"""All pairs of similar vectors among many: clusters by FAISS, each row looked up in its nearest several.

Looking for duplicates only inside a row's own cluster (as SemDeDup does, arXiv 2303.09540) loses the pairs that a
border cuts apart. Here each row visits its nearest `probes` clusters, and a pair is found if either row visits the
other's. Inside a visit every product is computed, by blocks, so nothing depends on a number of neighbours per row,
and a row with thousands of duplicates loses none. How many probes are needed is measured on the vectors themselves:
near-duplicates are planted and their clusters compared, without any search.

Similarities are computed anew in float64, in a fixed order, for the pairs that the fast products propose.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_curate.errors import UnitFailed

log = logging.getLogger(__name__)

Products = Callable[[np.ndarray, np.ndarray], np.ndarray]  # float32 [A, D], [B, D] -> inner products [A, B]

_BLOCK = 4096  # rows of a product: 64 MiB of float32
_SLACK = 1e-4  # a float32 product of unit vectors is off by far less
_TRAINING_ROWS = 64  # per cluster
_KMEANS_ROUNDS = 10


@dataclass(frozen=True)
class Search:
    """What is looked for, and how well."""

    floor: float  # smallest cosine of a pair
    planted_cosine: float = 0.95  # the recall target holds for pairs planted at this cosine
    recall_target: float = 0.99
    planted_pairs: int = 4000
    exact_rows: int = 20_000  # up to so many rows all pairs are compared
    max_pairs: int = 20_000_000
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, sorted; a < b."""

    a: np.ndarray  # int64 [E]
    b: np.ndarray  # int64 [E]
    similarity: np.ndarray  # float32 [E], rounded to 5 digits


@dataclass(frozen=True)
class Clustering:
    """How the rows were divided, and the share of planted pairs that this finds."""

    clusters: int
    probes: int
    recall: dict[float, float]  # by cosine, on pairs that had no part in choosing `probes`


def similar_pairs(vectors: np.ndarray, search: Search) -> tuple[Pairs, Clustering]:
    """Every pair with a cosine of at least `search.floor`; exact for few rows, else with the recall it reports.

    Args:
        vectors: float16 or float32 [N, D], none of them zero; lengths need not be exactly one.

    Raises:
        UnitFailed: more than `search.max_pairs` pairs.
    """
    rows = Rows(vectors)
    visits, clustering = _all_against_all(len(rows)), _complete(search)
    if len(rows) > search.exact_rows:
        centres = centroids(rows, round(len(rows) ** 0.5), search.seed)
        measured = _measured(rows, centres, search)
        log.info("%d rows: %s", len(rows), measured)
        # Where so many probes are needed, clusters cost more than they save.
        if measured.probes <= len(centres) // 2:
            clustering = measured
            visits = _visits(nearest_clusters(rows, centres, measured.probes), len(centres))
    keys = _candidates(rows, visits, search)
    return _exact(rows, keys, search.floor), clustering


class Rows:
    """Vectors as float32 of length one, a block at a time: the whole stays as small as it came."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        squares = [_squares(vectors[start : start + _BLOCK]) for start in range(0, len(vectors), _BLOCK)]
        self.length = np.sqrt(np.concatenate(squares)) if squares else np.zeros(0)  # float64 [N]
        if not (self.length > 0).all():
            raise ValueError("a zero vector has no direction; leave such rows out")

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 [len(rows), D], each of length one."""
        return self.vectors[rows].astype(np.float32) / self.length[rows, None].astype(np.float32)

    def cosines(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float32 of row a[i] and row b[i]: the same on every machine and for every number of threads."""
        parts = []
        for start in range(0, len(a), _BLOCK):
            left, right = a[start : start + _BLOCK], b[start : start + _BLOCK]
            products = _dots(self.vectors[left], self.vectors[right])
            parts.append(np.round(products / (self.length[left] * self.length[right]), 5).astype(np.float32))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))


def _squares(vectors: np.ndarray) -> np.ndarray:
    return _dots(vectors, vectors)


def _products() -> Products:
    """Blocks of inner products: the processor's BLAS, or the GPU's where the FAISS wheel has one."""
    import faiss

    if not faiss.get_num_gpus():
        return lambda a, b: a @ b.T
    gpu = faiss.StandardGpuResources()
    return lambda a, b: faiss.pairwise_distance_gpu(gpu, a, b, metric=faiss.METRIC_INNER_PRODUCT)


def centroids(rows: Rows, count: int, seed: int) -> np.ndarray:
    """float32 [count, D] by spherical k-means over a sample; the same for every number of threads (measured)."""
    import faiss

    random = np.random.default_rng(seed)
    sample = np.sort(random.choice(len(rows), min(len(rows), count * _TRAINING_ROWS), replace=False))
    kmeans = faiss.Kmeans(
        rows.vectors.shape[1],
        count,
        niter=_KMEANS_ROUNDS,
        spherical=True,
        seed=seed,
        gpu=bool(faiss.get_num_gpus()),
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINING_ROWS,
    )
    kmeans.train(rows.take(sample))
    return np.asarray(kmeans.centroids)


def nearest_clusters(rows: Rows, centroids: np.ndarray, count: int) -> np.ndarray:
    """int32 [N, count]: for each row its nearest clusters, nearest first."""
    import faiss

    index: Any = faiss.IndexFlatIP(centroids.shape[1])
    if faiss.get_num_gpus():
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(centroids)
    blocks = (np.arange(start, min(start + _BLOCK, len(rows))) for start in range(0, len(rows), _BLOCK))
    return np.concatenate([index.search(rows.take(block), count)[1].astype(np.int32) for block in blocks])


# --- how many probes


def _cosines(search: Search) -> tuple[float, ...]:
    """The cosines at which recall is reported: the one that counts, the floor, and near copies."""
    return tuple(sorted({search.floor, search.planted_cosine, 0.9, 0.95, 0.99}))


def _measured(rows: Rows, centroids: np.ndarray, search: Search) -> Clustering:
    """The fewest probes that find enough planted pairs, and what those find of other planted pairs."""
    random = np.random.default_rng(search.seed + 1)
    needed = _probes_needed(rows, centroids, search.planted_cosine, search.planted_pairs, random)
    # Half of the losses that are allowed: chance then seldom takes the recall of other pairs below the target.
    probes = int(np.quantile(needed, (1 + search.recall_target) / 2, method="higher"))
    recall = {}
    for cosine in _cosines(search):
        needed = _probes_needed(rows, centroids, cosine, search.planted_pairs, random)
        recall[cosine] = round(float((needed <= probes).mean()), 4)
    return Clustering(len(centroids), probes, recall)


def _probes_needed(
    rows: Rows, centroids: np.ndarray, cosine: float, pairs: int, random: np.random.Generator
) -> np.ndarray:
    """int64 [pairs]: how many probes find each of some pairs planted at `cosine`."""
    chosen = random.integers(0, len(rows), pairs)
    originals = rows.take(chosen) @ centroids.T  # [pairs, clusters]
    copies = planted(rows, chosen, cosine, random) @ centroids.T
    # A pair is found if the copy visits the original's cluster or the original the copy's.
    return 1 + np.minimum(_rank(copies, originals.argmax(1)), _rank(originals, copies.argmax(1)))


def _rank(products: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """int64 [pairs]: how many clusters are nearer to each row than the one named."""
    return (products > np.take_along_axis(products, cluster[:, None], 1)).sum(1)


def planted(rows: Rows, chosen: np.ndarray, cosine: float, random: np.random.Generator) -> np.ndarray:
    """float32 [len(chosen), D]: copies at exactly `cosine`, moved along differences between rows of the data.

    Noise in all directions alike would hardly touch the few directions in which real vectors, and so the clusters,
    differ: it would make the search look better than it is.
    """
    originals = rows.take(chosen)
    left, right = random.integers(0, len(rows), (2, len(chosen)))
    noise = rows.take(left) - rows.take(right) + 1e-3 * random.standard_normal(originals.shape, dtype=np.float32)
    noise -= (noise * originals).sum(1, keepdims=True) * originals
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.float32(cosine) * originals + np.float32((1 - cosine**2) ** 0.5) * noise


# --- the search


def _complete(search: Search) -> Clustering:
    return Clustering(1, 1, {cosine: 1.0 for cosine in _cosines(search)})


def _all_against_all(rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One cluster that holds every row, and nobody from elsewhere."""
    yield np.arange(rows), np.arange(0)


def _visits(nearest: np.ndarray, clusters: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each cluster the rows that live in it and the rows that visit it from elsewhere, both ascending."""
    members = _grouped(nearest[:, 0], clusters)
    probes = nearest.shape[1]
    visitors = _grouped(nearest[:, 1:].ravel(), clusters)
    for inside, outside in zip(members, visitors, strict=True):
        yield inside, outside // max(probes - 1, 1)


def _grouped(cluster: np.ndarray, clusters: int) -> Iterator[np.ndarray]:
    """For each cluster the positions in `cluster` that name it, ascending."""
    order = np.argsort(cluster, kind="stable")
    edges = np.searchsorted(cluster[order], np.arange(clusters + 1))
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        yield order[start:end]


def _candidates(rows: Rows, visits: Iterator[tuple[np.ndarray, np.ndarray]], search: Search) -> np.ndarray:
    """Pairs that may reach the floor, each once, as sorted keys a * N + b."""
    products = _products()
    found: list[np.ndarray] = []
    held, limit = 0, search.max_pairs
    for inside, outside in visits:
        for a, b in _products_above(rows, inside, outside, (products, search.floor - _SLACK)):
            found.append(np.minimum(a, b) * len(rows) + np.maximum(a, b))
            held += len(a)
            if held > 2 * limit:
                # A pair is met at most twice, once from each side.
                found = [np.unique(np.concatenate(found))]
                held = len(found[0])
                if held > limit:
                    raise UnitFailed(_too_many(held, len(rows), search))
    keys = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    if len(keys) > limit:
        raise UnitFailed(_too_many(len(keys), len(rows), search))
    return keys


def _too_many(pairs: int, rows: int, search: Search) -> str:
    return (
        f"{pairs} pairs among {rows} vectors reach a cosine of {search.floor}, more than max_pairs={search.max_pairs};"
        " raise the floor, or keep near-empty clips (black, frozen, titles) out with gate"
    )


def _products_above(
    rows: Rows, inside: np.ndarray, outside: np.ndarray, settings: tuple[Products, float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (a, b) of a member and a member or visitor whose product reaches the bound; both orders never."""
    products, bound = settings
    for start in range(0, len(inside), _BLOCK):
        right = inside[start : start + _BLOCK]
        right_vectors = rows.take(right)
        # Members at or before this block, so that two members meet once; then the visitors.
        left = np.concatenate([inside[: start + len(right)], outside])
        for first in range(0, len(left), _BLOCK):
            block = left[first : first + _BLOCK]
            hits = np.flatnonzero(products(rows.take(block), right_vectors).ravel() >= bound)
            at, of = np.divmod(hits, len(right))
            member = first + at < start + len(right)
            once = ~member | (block[at] < right[of])
            yield block[at][once], right[of][once]


def _exact(rows: Rows, keys: np.ndarray, floor: float) -> Pairs:
    a, b = np.divmod(keys, max(len(rows), 1))
    similarity = rows.cosines(a, b)
    enough = similarity >= np.float32(floor)
    return Pairs(a[enough], b[enough], similarity[enough])
