import json

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.learning import utility
from hpc_curate.measures.motion import Motion
from hpc_curate.measures.sharpness import Sharpness
from hpc_curate.stages.shots import Shots

MAKERS = {
    "motion": f"measure motion {Motion.version}",
    "sharpness": f"measure sharpness {Sharpness.version}",
    "fps": f"stage shots {Shots.version}",
}


def clips(count, seed=0):
    random = np.random.default_rng(seed)
    values = random.standard_normal((count, 3)) * [5, 0.1, 0] + [100, 1, 25]
    return values, (values[:, 0] > 100).astype(float)


def test_labels_of_zero_and_one_give_a_chance_and_other_numbers_their_own_unit():
    values, labels = clips(400)
    model = utility.fit(values, labels, MAKERS, 1.0)
    assert model.kind == utility.LOGISTIC
    assert ((model.predict(values) > 0.5) == (labels == 1)).mean() > 0.97
    rated = utility.fit(values, 1 + 4 * labels, MAKERS, 1.0)
    assert rated.kind == utility.RIDGE
    assert rated.predict(values).mean() == pytest.approx(1 + 4 * labels.mean(), abs=0.01)


def test_a_column_that_is_always_the_same_is_left_out():
    model = utility.fit(*clips(50), MAKERS, 1.0)
    assert model.columns == ["motion", "sharpness"]


def test_a_missing_value_is_the_mean_unless_labels_say_that_missing_means_something():
    values, labels = clips(400)
    model = utility.fit(values, labels, MAKERS, 1.0)
    means = np.array([[feature.mean for feature in model.features]])
    assert model.predict(np.full((1, 2), np.nan)) == pytest.approx(model.predict(means))
    # Now the clips whose sharpness nobody knows are the useful ones, whatever their motion.
    values[::2, 1] = np.nan
    told = utility.fit(values, np.isnan(values[:, 1]).astype(float), MAKERS, 1.0)
    assert told.features[1].missing == 200
    known, unknown = told.predict(np.array([[100.0, 1.0], [100.0, np.nan]]))
    assert known < 0.1 and unknown > 0.9


def test_a_model_says_the_same_after_it_was_written_and_read(tmp_path):
    values, labels = clips(60)
    model = utility.fit(values, labels, MAKERS, 1.0)
    path = tmp_path / "utility.json"
    path.write_text(utility.as_json(model, {"clips": 60}))
    again = utility.read(path)
    assert again.predict(values[:, :2]).tolist() == model.predict(values[:, :2]).tolist()
    assert json.loads(path.read_text())["fitted"] == {"clips": 60}


def test_another_version_of_a_measure_makes_other_numbers_and_is_refused(tmp_path):
    old = {**MAKERS, "motion": "measure motion 0"}
    path = tmp_path / "utility.json"
    path.write_text(utility.as_json(utility.fit(*clips(60), old, 1.0), {}))
    with pytest.raises(ConfigError, match="fitted on motion of measure motion 0, this is .; fit it again"):
        utility.read(path)


@pytest.mark.parametrize("text", ["", "{}", '{"format": "hpc_curate probe 1"}', "[1]"])
def test_a_file_that_is_no_model_is_refused(tmp_path, text):
    (tmp_path / "utility.json").write_text(text)
    with pytest.raises(ConfigError, match="is no model of hpc-curate utility fit"):
        utility.read(tmp_path / "utility.json")


def test_truth_values_count_and_words_do_not():
    table = pa.table({"hdr": [True, None], "width": [3, 4], "height": [2, 5], "codec": ["a", "b"]})
    found = utility.values_of(table, ["hdr", "short_side_px"])
    assert found[0].tolist() == [1, 2] and np.isnan(found[1, 0]) and found[1, 1] == 4
    with pytest.raises(ConfigError, match="'codec' holds string, not numbers"):
        utility.values_of(table, ["codec"])
