import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.stage import Resources
from hpc_curate.stages.clusters import ROWS, Clusters

pytest.importorskip("faiss")

DIRECTIONS = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0][:4]


class Line:
    """Inputs: clips around four directions, of which the first is seen most often; every seventh has no vector."""

    def __init__(self, count=400, models=("m",)):
        random = np.random.default_rng(1)
        self.kind = np.minimum(random.integers(0, 7, count), 3)
        vectors = DIRECTIONS[self.kind] + 0.05 * random.standard_normal((count, 16))
        rows = [None if row % 7 == 0 else vector for row, vector in enumerate(vectors.astype(np.float16))]
        model = [None if row is None else models[at % len(models)] for at, row in enumerate(rows)]
        self.table = pa.table({"embedding": pa.array(rows, pa.list_(pa.float16(), 16)), "embedding_model": model})

    def kept(self):
        return [f"clip{number:04d}" for number in range(len(self.table))]

    def clips(self, columns, ids):
        return self.table.append_column("clip_id", pa.array(ids)).select(["clip_id", *columns])


def clustered(line, **settings):
    stage = Clusters(**settings)
    return stage.run(stage.load(Resources(cpus=1)), line)["rows"]


def test_a_cluster_holds_clips_of_one_kind():
    line = Line()
    rows = clustered(line, count=12)
    assert rows.schema == ROWS and rows["clip_id"].to_pylist() == line.kept()
    known = np.arange(400) % 7 != 0
    assert rows["cluster"].is_null().to_numpy().tolist() == (~known).tolist()
    pairs = set(zip(rows["cluster"].drop_null().to_pylist(), line.kind[known].tolist(), strict=True))
    assert len(pairs) == len({cluster for cluster, _ in pairs})
    assert {kind for _, kind in pairs} == {0, 1, 2, 3}
    assert min(rows["cluster_similarity"].drop_null().to_pylist()) > 0.9


def test_the_same_clips_make_the_same_clusters():
    assert clustered(Line()).equals(clustered(Line()))


def test_without_a_count_it_is_the_square_root_of_the_clips():
    assert max(clustered(Line(70))["cluster"].drop_null().to_pylist()) <= 7
    one = clustered(Line(2))
    assert one["cluster"].to_pylist() == [None, 0]
    assert one["cluster_similarity"].to_pylist() == [None, 1.0]


def test_no_clip_at_all_makes_no_row():
    assert clustered(Line(0)).num_rows == 0
    assert clustered(Line(1))["cluster"].to_pylist() == [None]


def test_embeddings_of_two_models_are_refused():
    with pytest.raises(ConfigError, match="different models cannot be compared"):
        clustered(Line(models=("m", "n")))
