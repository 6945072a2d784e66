import numpy as np
import pytest

from hpc_curate.clips.neighbours import Rows, Search, planted, similar_pairs
from hpc_curate.errors import UnitFailed

faiss = pytest.importorskip("faiss")


def unit(rows, dimensions, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((rows, dimensions), dtype=np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def with_copies(rows, dimensions, copies, cosine):
    """Unrelated vectors, the last `copies` of them replaced by copies of the first ones at `cosine`."""
    vectors = unit(rows, dimensions).astype(np.float32)
    chosen = np.arange(copies)
    vectors[-copies:] = planted(Rows(vectors), chosen, cosine, np.random.default_rng(1))
    return vectors.astype(np.float16)


def by_brute_force(vectors, floor):
    full = vectors.astype(np.float64)
    full /= np.linalg.norm(full, axis=1, keepdims=True)
    similarity = np.round(full @ full.T, 5)
    a, b = np.nonzero(np.triu(similarity >= floor, 1))
    return {(int(i), int(j)): similarity[i, j] for i, j in zip(a, b, strict=True)}


def as_dict(pairs):
    return {(int(i), int(j)): float(s) for i, j, s in zip(pairs.a, pairs.b, pairs.similarity, strict=True)}


def test_few_rows_are_compared_all_with_all():
    vectors = unit(500, 16)
    pairs, clustering = similar_pairs(vectors, Search(floor=0.6))
    expected = by_brute_force(vectors, 0.6)
    assert as_dict(pairs) == pytest.approx(expected, abs=1e-6)
    assert len(expected) > 100
    assert set(clustering.recall.values()) == {1.0}


def test_similarities_are_exact_where_vectors_are_not_quite_of_length_one():
    vectors = np.array([[3, 4], [6, 8], [4, 3]], np.float16)
    pairs, _ = similar_pairs(vectors, Search(floor=0.9))
    assert as_dict(pairs) == pytest.approx({(0, 1): 1.0, (0, 2): 0.96, (1, 2): 0.96})


def test_clusters_find_what_comparing_all_finds():
    vectors = with_copies(6000, 64, 1000, 0.95)
    search = Search(floor=0.94, planted_cosine=0.95, planted_pairs=1000, exact_rows=1000)
    pairs, clustering = similar_pairs(vectors, search)
    expected = by_brute_force(vectors, 0.94)
    found = as_dict(pairs)
    assert clustering.clusters == 77
    assert clustering.probes > 1
    assert set(found) <= set(expected)
    assert len(found) >= 0.98 * len(expected)
    assert clustering.recall[0.95] == pytest.approx(len(found) / len(expected), abs=0.015)


def test_a_higher_recall_takes_more_probes():
    vectors = unit(6000, 64)
    low = similar_pairs(vectors, Search(floor=0.9, recall_target=0.7, exact_rows=1000))[1]
    high = similar_pairs(vectors, Search(floor=0.9, recall_target=0.999, exact_rows=1000))[1]
    assert low.probes < high.probes


def test_a_row_with_thousands_of_duplicates_loses_none():
    vectors = unit(4000, 16)
    vectors[:2000] = vectors[0]
    pairs, _ = similar_pairs(vectors, Search(floor=0.99, exact_rows=1000))
    same = (pairs.a < 2000) & (pairs.b < 2000)
    assert same.sum() == 2000 * 1999 // 2
    assert len(set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))) == len(pairs.a)


def test_the_number_of_threads_changes_nothing():
    vectors = with_copies(6000, 64, 500, 0.95)
    search = Search(floor=0.9, exact_rows=1000)
    before = faiss.omp_get_max_threads()
    results = []
    for threads in (1, 2, 3):
        faiss.omp_set_num_threads(threads)
        results.append(similar_pairs(vectors, search))
    faiss.omp_set_num_threads(before)
    assert results[0][1] == results[1][1] == results[2][1]
    assert as_dict(results[0][0]) == as_dict(results[1][0]) == as_dict(results[2][0])


def test_copies_are_planted_at_the_cosine_asked_for():
    rows = Rows(unit(300, 32))
    chosen = np.arange(100)
    cosines = (rows.take(chosen) * planted(rows, chosen, 0.9, np.random.default_rng(0))).sum(1)
    assert cosines == pytest.approx(0.9, abs=1e-5)


def test_too_many_pairs_say_what_to_do():
    vectors = np.ones((300, 4), np.float16)
    with pytest.raises(UnitFailed, match="44850 pairs among 300 vectors.*raise the floor"):
        similar_pairs(vectors, Search(floor=0.9, max_pairs=1000))


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_have_no_pairs(rows):
    pairs, _ = similar_pairs(unit(2, 8)[:rows], Search(floor=0.5))
    assert len(pairs.a) == len(pairs.b) == len(pairs.similarity) == 0


def test_a_zero_vector_is_refused():
    with pytest.raises(ValueError, match="zero vector"):
        similar_pairs(np.zeros((2, 4), np.float16), Search(floor=0.5))
