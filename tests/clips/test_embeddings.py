import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.clips import embeddings
from hpc_curate.errors import ConfigError


def column(*names):
    return pa.chunked_array([pa.array(names, pa.string())])


def test_another_name_other_weights_and_another_normalisation_are_another_model():
    own = embeddings.identity("open_clip:ViT-B-32", "ab" * 32, "mean 0")
    assert own == embeddings.identity("open_clip:ViT-B-32", "ab" * 32, "mean 0")
    others = [("open_clip:ViT-B-16", "ab" * 32, "mean 0"), ("open_clip:ViT-B-32", "ac" * 32, "mean 0")]
    others.append(("open_clip:ViT-B-32", "ab" * 32, "mean 1"))
    assert own not in [embeddings.identity(*other) for other in others]
    assert embeddings.family(own) == "open_clip"


def test_two_models_in_one_column_are_refused():
    assert embeddings.one_model(column("a", None, "a")) == "a"
    assert embeddings.one_model(column(None)) is None
    with pytest.raises(ConfigError, match="different models cannot be compared: a, b"):
        embeddings.one_model(column("b", "a"))


def test_vectors_of_another_model_are_refused_and_none_at_all_are_not():
    embeddings.refuse_other("probe.json", "a", column("a", None))
    embeddings.refuse_other("probe.json", "a", column(None))
    with pytest.raises(ConfigError, match="probe.json is for embeddings of a, these are of b"):
        embeddings.refuse_other("probe.json", "a", column("b"))


def test_vectors_are_read_with_the_rows_they_are_of():
    kind = pa.list_(pa.float16(), 2)
    parts = [pa.array([[1, 0], None], kind), pa.array([None, [0, 1]], kind)]
    rows, found = embeddings.vectors(pa.chunked_array(parts))
    assert rows.tolist() == [0, 3]
    assert found.dtype == np.float16 and found.tolist() == [[1, 0], [0, 1]]
