import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.clips.neighbours import Pairs
from hpc_curate.errors import ConfigError, UnitFailed
from hpc_curate.stage import Resources
from hpc_curate.stages.dedup import Dedup, components

pytest.importorskip("faiss")


class Clips:
    """Inputs of a merge over a few clips; `columns` as stages before would have written them."""

    resources = Resources()

    def __init__(self, columns, videos=()):
        self._columns = columns
        self._videos = pa.Table.from_pylist(
            [{"video_id": video, "sha256": sha256} for video, sha256 in videos],
            schema=pa.schema([("video_id", pa.string()), ("sha256", pa.string())]),
        )

    def kept(self):
        return pa.array(self._columns["clip_id"]).to_pylist()

    def clips(self, columns, ids=None):
        at = [self.kept().index(clip) for clip in ids]
        return pa.table({name: self._columns[name] for name in ("clip_id", *columns)}).take(pa.array(at, pa.int64()))

    def table(self, name, columns=None):
        assert name == "videos"
        return self._videos.select(columns)


def embeddings(angles):
    """Vectors of two dimensions at these angles in degrees; None for a clip that could not be embedded."""
    vectors = [None if a is None else [np.cos(np.radians(a)), np.sin(np.radians(a))] for a in angles]
    as_float16 = [None if v is None else np.array(v, np.float16) for v in vectors]
    return {
        "embedding": pa.array(as_float16, pa.list_(pa.float16(), 2)),
        "embedding_model": pa.array([None if a is None else "efficientnet" for a in angles]),
    }


def edges(tables):
    return {(e["clip_a"], e["clip_b"], e["method"]): e["similarity"] for e in tables["edges"].to_pylist()}


def groups(tables):
    return dict(zip(*(tables["rows"][name].to_pylist() for name in ("clip_id", "duplicate_group")), strict=True))


def stat(tables, method, statistic):
    rows = tables["dedup_stats"].to_pylist()
    return {row["at"]: row["value"] for row in rows if (row["method"], row["statistic"]) == (method, statistic)}


def test_similar_embeddings_become_edges_and_very_similar_ones_groups():
    clips = Clips({"clip_id": ["d", "c", "b", "a"], **embeddings([0, 10, 35, 90])})
    tables = Dedup(methods=("embedding",), floor=0.8).run(None, clips)
    found = edges(tables)
    assert found.keys() == {("c", "d", "embedding"), ("b", "c", "embedding"), ("b", "d", "embedding")}
    assert found["c", "d", "embedding"] == pytest.approx(np.cos(np.radians(10)), abs=1e-3)
    assert groups(tables) == {"a": None, "b": None, "c": "c", "d": "c"}


def test_tables_have_the_schemas_that_are_promised():
    stage = Dedup(methods=("embedding",))
    tables = stage.run(None, Clips({"clip_id": ["a", "b"], **embeddings([0, 1])}))
    assert {name: table.schema for name, table in tables.items()} == stage.writes()


def test_a_group_is_named_after_its_smallest_clip_and_runs_along_chains():
    clips = Clips({"clip_id": ["e", "a", "c"], **embeddings([0, 30, 15])})
    assert groups(Dedup(methods=("embedding",)).run(None, clips)) == {"a": "a", "c": "a", "e": "a"}


def test_a_clip_without_an_embedding_is_alone():
    clips = Clips({"clip_id": ["a", "b", "c"], **embeddings([0, None, 0])})
    tables = Dedup(methods=("embedding",)).run(None, clips)
    assert groups(tables) == {"a": "a", "b": None, "c": "a"}
    assert stat(tables, "embedding", "rows") == {None: 2}


def test_the_same_span_of_the_same_bytes_is_a_duplicate_and_is_found_once():
    columns = {
        "clip_id": ["v_0_9", "w_0_9", "w_9_12", "x_0_9"],
        "video_id": ["v", "w", "w", "x"],
        "start_pts": pa.array([0, 0, 9, 0], pa.int64()),
        "end_pts": pa.array([9, 9, 12, 9], pa.int64()),
        **embeddings([0, 0, 90, 1]),
    }
    clips = Clips(columns, videos=[("v", "one"), ("w", "one"), ("x", None)])
    found = edges(Dedup(methods=("embedding", "bytes")).run(None, clips))
    assert found.keys() == {
        ("v_0_9", "w_0_9", "bytes"),
        ("v_0_9", "x_0_9", "embedding"),
        ("w_0_9", "x_0_9", "embedding"),
    }


def content(hashes, angles, duration_s=2.0):
    return {
        "clip_id": list("abcdefgh"[: len(angles)]),
        "duration_s": pa.array([duration_s] * len(angles)),
        "width": pa.array([640] * len(angles)),
        "height": pa.array([360] * len(angles)),
        "phash": pa.array(hashes, pa.list_(pa.uint64())),
        **embeddings(angles),
    }


def test_equal_content_is_equal_hashes_and_equal_vectors():
    tables = Dedup(methods=("content",)).run(None, Clips(content([[7, 9]] * 3 + [[7, 8], None], [0, 0, 1, 0, 0])))
    assert edges(tables) == {("a", "b", "content"): 1.0}


def test_hashes_within_the_distance_are_edges_with_their_similarity():
    tables = Dedup(methods=("phash",), max_distance_bits=2).run(
        None, Clips(content([[0b1, 0b1], [0b1, 0b111], None, [0b111111, 0b1111]], [0] * 4))
    )
    assert edges(tables) == {("a", "b", "phash"): pytest.approx(1 - 1 / 64, abs=1e-5)}
    assert stat(tables, "phash", "rows") == {None: 3}
    assert stat(tables, "phash", "threshold") == {None: 1 - 2 / 64}
    assert groups(tables) == {"a": "a", "b": "a", "c": None, "d": None}


def test_the_statistics_say_how_good_the_search_was():
    random = np.random.default_rng(0)
    angles = random.uniform(0, 360, 50).tolist()
    columns = {"clip_id": [f"{i:02d}" for i in range(50)], **embeddings(angles)}
    tables = Dedup(methods=("embedding",), floor=0.9).run(None, Clips(columns))
    count = len(tables["edges"])
    assert stat(tables, "embedding", "pairs") == {None: count}
    assert sum(stat(tables, "embedding", "histogram").values()) == count
    assert min(stat(tables, "embedding", "histogram")) >= 0.9
    assert stat(tables, "embedding", "recall")[0.95] == 1.0
    assert stat(tables, "embedding", "threshold") == {None: 0.95}


def test_a_threshold_below_the_floor_lowers_the_floor():
    clips = Clips({"clip_id": ["a", "b"], **embeddings([0, 60])})
    assert groups(Dedup(methods=("embedding",), duplicate_similarity=0.4).run(None, clips)) == {"a": "a", "b": "a"}


def test_embeddings_of_two_models_are_refused():
    columns = {"clip_id": ["a", "b"], **embeddings([0, 0]), "embedding_model": pa.array(["sscd", "efficientnet"])}
    with pytest.raises(ConfigError, match="efficientnet, sscd"):
        Dedup(methods=("embedding",)).run(None, Clips(columns))


@pytest.mark.parametrize("method", ["content", "phash", "embedding"])
def test_too_many_pairs_stop_the_merge(method):
    with pytest.raises(UnitFailed, match="max_pairs=10"):
        Dedup(methods=(method,), max_pairs=10).run(None, Clips(content([[7, 9]] * 8, [0] * 8)))


def test_no_clips_make_empty_tables():
    empty = {name: column[:0] for name, column in content([[1]], [0]).items()}
    columns = {**empty, "video_id": pa.array([], pa.string()), "start_pts": pa.array([], pa.int64())}
    columns.update(clip_id=pa.array([], pa.string()), end_pts=columns["start_pts"])
    tables = Dedup().run(None, Clips(columns))
    assert len(tables["edges"]) == len(tables["rows"]) == 0


def test_only_what_the_methods_need_is_read():
    assert Dedup(methods=("phash",)).reads() == ("phash",)
    assert "videos" in Dedup().reads()


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="no method semantic; there are bytes"):
        Dedup(methods=("semantic",))


def test_components_of_a_long_chain_have_one_label():
    chain = np.random.default_rng(0).permutation(1000)
    a, b = np.minimum(chain[1:], chain[:-1]), np.maximum(chain[1:], chain[:-1])
    labels = components(1002, [Pairs(a, b, np.ones(999, np.float32))])
    assert labels.tolist() == [0] * 1000 + [1000, 1001]
