import numpy as np
import pytest

from hpc_curate.clips.hashes import similar_hashes
from hpc_curate.errors import UnitFailed

pytest.importorskip("faiss")


def random_hashes(rows, frames=5, seed=0):
    return np.random.default_rng(seed).integers(1, 2**64, (rows, frames), dtype=np.uint64)


def flipped(hashes, bits, seed):
    """Copies that differ from `hashes` in `bits` random bits each."""
    random = np.random.default_rng(seed)
    copies = hashes.copy()
    for row in copies:
        for at in random.choice(row.size * 64, bits, replace=False):
            row[at // 64] ^= np.uint64(1 << int(at % 64))
    return copies


def by_brute_force(hashes, max_distance):
    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(int)
    distance = (bits[:, None] != bits[None]).sum(2) / hashes.shape[1]
    informative = hashes.any(axis=1)
    near = np.triu(distance <= max_distance, 1) & informative[:, None] & informative[None]
    return {(int(a), int(b)): 1 - distance[a, b] / 64 for a, b in zip(*np.nonzero(near), strict=True)}


def as_dict(pairs):
    assert (pairs.a < pairs.b).all()
    found = {(int(a), int(b)): float(s) for a, b, s in zip(pairs.a, pairs.b, pairs.similarity, strict=True)}
    assert len(found) == len(pairs.a)
    return found


@pytest.mark.parametrize("max_distance", [0, 0.2, 3, 6, 8])
def test_all_pairs_are_found_and_no_other(max_distance):
    base = random_hashes(40)
    limit = int(max_distance * 5)
    copies = [flipped(base, bits, bits) for bits in sorted({0, 1, limit, limit + 1})]
    hashes = np.concatenate([base, *copies])
    expected = by_brute_force(hashes, max_distance)
    assert as_dict(similar_hashes(hashes, max_distance, 10_000)) == pytest.approx(expected, abs=1e-5)
    assert len(expected) >= 40


def test_one_hash_per_clip_works_too():
    hashes = np.concatenate([random_hashes(50, frames=1), flipped(random_hashes(50, frames=1), 4, 1)])
    assert as_dict(similar_hashes(hashes, 4, 1000)) == pytest.approx(by_brute_force(hashes, 4), abs=1e-5)


def test_many_equal_hashes_pair_with_each_other_and_with_their_neighbours():
    base = random_hashes(2)
    hashes = np.concatenate([base[[0] * 30], flipped(base[:1], 3, 0)[[0] * 20], base[1:]])
    found = as_dict(similar_hashes(hashes, 1, 10_000))
    assert len(found) == 50 * 49 // 2
    assert sum(similarity == 1 for similarity in found.values()) == 30 * 29 // 2 + 20 * 19 // 2


def test_clips_that_are_flat_all_the_time_are_like_no_other():
    hashes = random_hashes(4)
    hashes[2:] = 0
    assert as_dict(similar_hashes(hashes, 64, 100)).keys() == {(0, 1)}


def test_too_many_pairs_say_what_to_do():
    with pytest.raises(UnitFailed, match="lower max_distance_bits"):
        similar_hashes(random_hashes(1)[[0] * 200], 2, 100)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_have_no_pairs(rows):
    assert len(similar_hashes(random_hashes(2)[:rows], 4, 10).a) == 0
