import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.learning import probe
from hpc_curate.learning.linear import Linear
from hpc_curate.stage import Item
from hpc_curate.stages.probe import ProbeStage

MODEL = "efficientnet/0e9936f0d355/5be13b64"


class Line:
    """Inputs: embeddings of two dimensions."""

    def __init__(self, vectors, model=MODEL):
        models = [None if vector is None else model for vector in vectors]
        self.table = pa.table({"embedding": pa.array(vectors, pa.list_(pa.float16(), 2)), "embedding_model": models})

    def clips(self, names, ids):
        return self.table.append_column("clip_id", pa.array(ids)).select(["clip_id", *names])


@pytest.fixture
def stage(tmp_path):
    """style: live to the right, animation to the left; size: wide upwards, small downwards, twice as sure."""
    probes = {
        "style": probe.Probe(("animation", "live"), MODEL, Linear(np.array([[-1.0, 0], [1, 0]]), np.zeros(2))),
        "size": probe.Probe(("small", "wide"), MODEL, Linear(np.array([[0.0, -2], [0, 2]]), np.zeros(2))),
    }
    paths = {}
    for name, each in probes.items():
        paths[name] = str(tmp_path / f"{name}.json")
        (tmp_path / f"{name}.json").write_text(probe.as_json(each, {}))
    return ProbeStage(paths=paths)


def test_each_probe_writes_its_likeliest_label_and_how_likely_it_is(stage):
    found = stage.process(stage.load(None), Line([[1, 0], None, [-1, -1]]), Item("all", ("a", "b", "c")))["rows"]
    assert found.schema == stage.writes()["rows"]
    sure, surer = (round(float(1 / (1 + np.exp(-by))), 4) for by in (2, 4))
    assert found["style"].to_pylist() == ["live", None, "animation"]
    assert found["style_probability"].to_pylist() == pytest.approx([sure, None, sure])
    assert found["size"].to_pylist() == ["small", None, "small"]  # of two that are equally likely the first
    assert found["size_probability"].to_pylist() == pytest.approx([0.5, None, surer])
    assert found["error"].to_pylist() == [None, "there is no embedding of it", None]


def test_embeddings_of_another_model_are_refused(stage):
    line = Line([[1, 0]], model="efficientnet/0e9936f0d355/other")
    with pytest.raises(ConfigError, match="style.json of stage.probe is for embeddings of .*5be13b64, these are of"):
        stage.process(stage.load(None), line, Item("all", ("a",)))


def test_the_weights_and_the_names_count_and_the_place_does_not(stage, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = {name: (tmp_path / "elsewhere" / f"{name}.json") for name in stage.paths}
    for name, path in moved.items():
        path.write_bytes((tmp_path / f"{name}.json").read_bytes())
    same = ProbeStage(paths={name: str(path) for name, path in reversed(moved.items())})
    assert same.signature([]) == stage.signature([])
    assert ProbeStage(paths={"look": stage.paths["style"]}).signature([]) != ProbeStage(
        paths={"style": stage.paths["style"]}
    ).signature([])
    moved["size"].write_bytes(moved["size"].read_bytes().replace(b"-2.0", b"-3.0"))
    assert same.signature([]) != stage.signature([])


def test_a_probe_that_is_not_there_is_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"\+stage.probe.paths"):
        ProbeStage()
    with pytest.raises(ConfigError, match="absent.json: no such file"):
        ProbeStage(paths={"style": str(tmp_path / "absent.json")}).signature([])
