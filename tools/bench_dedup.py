#!/usr/bin/env python3
"""How many near-duplicates the search of `dedup` finds, and what it costs, against exact search.

    python tools/bench_dedup.py --rows 200000 --data uniform clustered

Vectors are unit length, 512 dimensions; the last rows are copies of others, planted at a cosine of exactly 0.95 and
0.99. "uniform" has no structure, the worst case for clusters; "clustered" draws the rows around sqrt(N)/4 centres.
Exact search is FAISS' flat index over all rows, for a sample of rows as queries: half copies, half any rows.
"""

from __future__ import annotations

import argparse
import resource
import time

import faiss
import numpy as np

from hpc_curate.clips.neighbours import Pairs, Search, similar_pairs

COSINES = (0.95, 0.99)
ROUNDING = 1e-4  # what float16 and the five digits of a similarity can move


def vectors_of(data: str, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """float16 [N, D] and, for the planted pairs, int64 [copies * 2, 2] of (original, copy)."""
    random = np.random.default_rng(args.seed)
    centres = normalised(random.standard_normal((max(1, round(args.rows**0.5 / 4)), args.dimensions)))
    vectors = np.empty((args.rows, args.dimensions), np.float16)
    for start in range(0, args.rows, 50_000):
        block = normalised(random.standard_normal((min(50_000, args.rows - start), args.dimensions)))
        if data == "clustered":
            block = normalised(block + centres[random.integers(0, len(centres), len(block))])
        vectors[start : start + len(block)] = block
    total = args.copies * len(COSINES)
    originals = random.choice(args.rows - total, total, replace=False)
    copies = np.arange(args.rows - total, args.rows)
    cosine = np.repeat(COSINES, args.copies)[:, None]
    base = normalised(vectors[originals].astype(np.float64))
    noise = random.standard_normal(base.shape)
    noise = normalised(noise - (noise * base).sum(1, keepdims=True) * base)
    vectors[copies] = cosine * base + np.sqrt(1 - cosine**2) * noise
    return vectors, np.stack([originals, copies], 1)


def normalised(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exact(vectors: np.ndarray, queries: np.ndarray, floor: float) -> tuple[Pairs, float]:
    """Every pair (query row, row) that reaches the floor, and the seconds that the search took."""
    rows, others, similarity, seconds = [], [], [], 0.0
    for start in range(0, len(vectors), 100_000):
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors[start : start + 100_000], dtype=np.float32))
        began = time.monotonic()
        limits, values, found = index.range_search(vectors[queries].astype(np.float32), floor)
        seconds += time.monotonic() - began
        rows.append(np.repeat(queries, np.diff(limits).astype(np.int64)))
        others.append(found + start)
        similarity.append(values)
    row, other, values = np.concatenate(rows), np.concatenate(others), np.concatenate(similarity)
    real = row != other
    return Pairs(row[real], other[real], values[real]), seconds


def keys(a: np.ndarray, b: np.ndarray, rows: int) -> np.ndarray:
    return np.unique(np.minimum(a, b) * rows + np.maximum(a, b))


def compare(vectors: np.ndarray, pairs: Pairs, queries: np.ndarray, floor: float) -> float:
    """Print recall and precision over all pairs that touch a query; pairs at the very floor are left out.

    Returns how many seconds exact search would take for all rows.
    """
    rows, clear = len(vectors), floor + ROUNDING
    truth, seconds = exact(vectors, queries, floor - ROUNDING)
    ours = np.isin(pairs.a, queries) | np.isin(pairs.b, queries)
    found = keys(pairs.a[ours], pairs.b[ours], rows)
    sure = pairs.similarity[ours] >= clear
    found_sure = keys(pairs.a[ours][sure], pairs.b[ours][sure], rows)
    clearly = truth.similarity >= clear
    there, there_sure = keys(truth.a, truth.b, rows), keys(truth.a[clearly], truth.b[clearly], rows)
    recall, precision = np.isin(there_sure, found).mean(), np.isin(found_sure, there).mean()
    counts = f"{len(queries)} queries, {len(there_sure)} pairs"
    print(f"  against exact search, {counts}: recall {recall:.4f} precision {precision:.4f}")
    return seconds * rows / len(queries)


def bench(data: str, args: argparse.Namespace) -> None:
    vectors, planted = vectors_of(data, args)
    began, cpu = time.monotonic(), time.process_time()
    pairs, clustering = similar_pairs(vectors, Search(floor=args.floor, planted_cosine=COSINES[0], seed=args.seed))
    wall, cpu = time.monotonic() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    print(f"{data}, {args.rows} x {args.dimensions}, floor {args.floor}: {len(pairs.a)} pairs")
    print(f"  {wall:.1f} s wall, {cpu:.1f} s CPU, {peak:.0f} MB peak (the vectors are {vectors.nbytes >> 20} MB of it)")
    print(
        f"  {clustering.clusters} clusters, {clustering.probes} probes; its own estimate of recall {clustering.recall}"
    )
    found = keys(pairs.a, pairs.b, args.rows)
    for number, cosine in enumerate(COSINES):
        part = planted[number * args.copies : (number + 1) * args.copies]
        recall = np.isin(keys(part[:, 0], part[:, 1], args.rows), found).mean()
        print(f"  planted at {cosine}: recall {recall:.4f} of {args.copies}")
    random = np.random.default_rng(args.seed + 1)
    half = args.queries // 2
    queries = np.concatenate([random.choice(planted[:, 1], half, False), random.integers(0, args.rows, half)])
    whole = compare(vectors, pairs, np.unique(queries), args.floor)
    print(f"  exact search of all rows would take {whole:.0f} s: {wall / whole:.3f} of it", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--data", nargs="+", default=["uniform", "clustered"], choices=["uniform", "clustered"])
    parser.add_argument("--copies", type=int, default=1000, help="planted pairs at each cosine")
    parser.add_argument("--floor", type=float, default=0.94)
    parser.add_argument("--queries", type=int, default=2000, help="rows that are searched for exactly")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for data in args.data:
        bench(data, args)


if __name__ == "__main__":
    main()
