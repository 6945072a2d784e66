import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.learning import probe
from hpc_curate.learning.linear import Linear


def two_clouds(count):
    """Around two of 40 directions, as float16."""
    random = np.random.default_rng(0)
    classes = np.arange(count) % 2
    found = random.standard_normal((count, 40)) * 0.1 + np.eye(40)[classes]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16), classes


def test_a_probe_tells_apart_what_lies_apart_and_is_unsure_in_between():
    vectors, classes = two_clouds(60)
    model = probe.Probe(("first", "second"), "m", probe.fit(vectors, classes, 2, 1.0))
    chances = model.predict(vectors)
    assert (chances.argmax(axis=1) == classes).all()
    assert chances.sum(axis=1) == pytest.approx(np.ones(60))
    assert model.predict((np.eye(40)[:1] + np.eye(40)[1:2]) / 2**0.5)[0].max() < chances.max(axis=1).mean() - 0.1


def test_a_probe_says_the_same_after_it_was_written_and_read(tmp_path):
    vectors, classes = two_clouds(30)
    model = probe.Probe(("first", "second"), "efficientnet/a/b", probe.fit(vectors, classes, 2, 1.0))
    path = tmp_path / "probe.json"
    path.write_text(probe.as_json(model, {}))
    again = probe.read(path)
    assert (again.labels, again.embedding_model) == (model.labels, model.embedding_model)
    assert again.predict(vectors) == pytest.approx(model.predict(vectors), abs=1e-5)


def test_a_file_that_is_no_probe_is_refused(tmp_path):
    torn = probe.Probe(("one", "two", "three"), "m", Linear(np.zeros((2, 4)), np.zeros(2)))
    for text in ("", "{}", probe.as_json(torn, {})):
        (tmp_path / "probe.json").write_text(text)
        with pytest.raises(ConfigError, match="is no probe of hpc-curate probe fit"):
            probe.read(tmp_path / "probe.json")
