"""All pairs of perceptual hashes that differ in few bits, exactly, by multi-index hashing.

If two hashes differ in at most T bits and are cut into more than T / 2 pieces, some piece differs in at most one bit
(Norouzi et al. 2012, arXiv 1307.2982). FAISS looks the pieces up; equal hashes are searched for once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpc_curate.clips.neighbours import Pairs
from hpc_curate.errors import UnitFailed

BITS = 64  # of the hash of one frame

_QUERIES = 50_000  # looked up at once
_MAX_PIECE_BITS = 28  # longer pieces are rarer still, but each bit is one look-up more


def similar_hashes(hashes: np.ndarray, max_distance: float, max_pairs: int) -> Pairs:
    """Every pair of clips whose mean Hamming distance over their frames is at most `max_distance`.

    Args:
        hashes: uint64 [N, frames], `frames` hashes of 64 bits per clip. A clip whose hashes are all 0 is flat all
            the time; that says nothing, so it is like no other.

    Returns:
        pairs with a similarity of 1 - distance / 64.

    Raises:
        UnitFailed: more than `max_pairs` pairs.
    """
    named = np.flatnonzero(hashes.any(axis=1))
    unique, group = np.unique(hashes[named], axis=0, return_inverse=True)
    group = group.ravel()
    first, second, distance = _near(unique, int(max_distance * hashes.shape[1]))
    a, b, pair = member_pairs(first, second, group, max_pairs)
    a, b = named[a], named[b]
    order = np.lexsort((b, a))
    similarity = np.round(1 - distance[pair] / (BITS * hashes.shape[1]), 5).astype(np.float32)
    return Pairs(a[order], b[order], similarity[order])


def _near(unique: np.ndarray, max_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs first <= second of different hashes, and each hash with itself; int64, with the bits that differ."""
    itself = np.arange(len(unique))
    firsts, seconds, distances = [itself], [itself], [np.zeros(len(unique), np.int64)]
    for first, second, distance in _looked_up(_shuffled(unique), max_bits):
        once = first < second
        firsts.append(first[once])
        seconds.append(second[once])
        distances.append(distance[once])
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(distances)


def _shuffled(unique: np.ndarray) -> np.ndarray:
    """uint8 [N, bytes] with the bits in a fixed random order.

    Otherwise a piece would come from one frame, and the black frame at the start of many clips would fill one bucket.
    """
    bits = np.unpackbits(np.ascontiguousarray(unique).view(np.uint8), axis=1)
    return np.packbits(bits[:, np.random.default_rng(0).permutation(bits.shape[1])], axis=1)


def _looked_up(codes: np.ndarray, max_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    import faiss

    if len(codes) < 2:
        return
    pieces = max_bits // 2 + 1
    index = faiss.IndexBinaryMultiHash(codes.shape[1] * 8, pieces, min(codes.shape[1] * 8 // pieces, _MAX_PIECE_BITS))
    index.nflip = 1
    index.add(codes)
    for start in range(0, len(codes), _QUERIES):
        # FAISS returns what is nearer than the radius.
        limits, distance, found = index.range_search(codes[start : start + _QUERIES], max_bits + 1)
        query = np.repeat(np.arange(len(limits) - 1), (limits[1:] - limits[:-1]).astype(np.int64)) + start
        yield query, found, distance.astype(np.int64)


def member_pairs(
    first: np.ndarray, second: np.ndarray, group: np.ndarray, max_pairs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From pairs of groups to pairs of members a < b, and which pair of groups each came from.

    Args:
        first, second: int64, pairs of groups; a group paired with itself stands for the pairs within it.
        group: int64 [N], the group of each member, 0 to G - 1, none empty.

    Raises:
        UnitFailed: more than `max_pairs` pairs.
    """
    members = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=1)
    start = np.cumsum(size) - size
    products = size[first] * size[second]
    total = int(products.sum())
    if total > 2 * max_pairs + len(group):
        raise UnitFailed(
            f"about {total // 2} pairs among {len(group)} clips, more than max_pairs={max_pairs};"
            " lower max_distance_bits, or keep near-empty clips (black, frozen, titles) out with gate"
        )
    pair = np.repeat(np.arange(len(first)), products)
    within = np.arange(total) - np.repeat(np.cumsum(products) - products, products)
    row, column = np.divmod(within, size[second[pair]])
    left, right = members[start[first[pair]] + row], members[start[second[pair]] + column]
    same = first[pair] == second[pair]
    # A group with itself meets each pair twice, and each member with itself.
    once = ~same | (left < right)
    return np.minimum(left, right)[once], np.maximum(left, right)[once], pair[once]
