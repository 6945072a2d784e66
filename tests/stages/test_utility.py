from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from hpc_curate.errors import ConfigError
from hpc_curate.learning import utility
from hpc_curate.stage import Item
from hpc_curate.stages.utility import Utility, standing

CONF = Path(__file__).resolve().parents[2] / "conf"
BOUNDS = {"fps": {"min": 16}, "motion": {"min": 1, "max": 100}, "luma_mean": {"max": 180}}


class Line:
    """Inputs: columns of the stages before."""

    def __init__(self, **columns):
        self.columns = pa.table(columns)

    def clips(self, names, ids):
        return self.columns.append_column("clip_id", pa.array(ids)).select(["clip_id", *names])


def rows(stage, **columns):
    ids = tuple(f"clip{number}" for number in range(len(next(iter(columns.values())))))
    return stage.process(stage.load(None), Line(**columns), Item("all", ids))["rows"]


def test_a_clip_at_a_bound_stands_at_one_half():
    assert standing(np.array([0.0, 16, 32]), 16, None) == pytest.approx([0, 1 / 2, 2 / 3])
    assert standing(np.array([0.0, 180, 360]), None, 180) == pytest.approx([1, 1 / 2, 1 / 3])
    assert standing(np.array([1.0, 10, 100]), 1, 100) == pytest.approx([1 / 2, 10 / 11, 1 / 2])


def test_the_blend_is_the_mean_over_the_columns_that_have_a_value():
    found = rows(Utility(bounds=BOUNDS), fps=[16.0, 32.0, None], motion=[1.0, None, None], luma_mean=[180.0, 0.0, None])
    assert found["clip_id"].to_pylist() == ["clip0", "clip1", "clip2"]
    assert found["utility"].to_pylist() == [0.5, pytest.approx((2 / 3 + 1) / 2, abs=1e-4), None]
    assert found["error"].to_pylist() == [None, None, "no column of the blend has a value"]


def test_the_bounds_of_the_package_are_those_of_the_default_selection():
    bounds = yaml.safe_load((CONF / "utility" / "default.yaml").read_text())["bounds"]
    rules = yaml.safe_load((CONF / "select" / "default.yaml").read_text())["rules"]
    for name, bound in bounds.items():
        assert bound == {key: value for key, value in rules[name].items() if key in ("min", "max")}
    assert Utility(bounds=bounds).reads()[:2] == ("crop_w", "crop_h")


def test_without_bounds_or_a_model_there_is_nothing_to_say():
    with pytest.raises(ConfigError, match="needs bounds or model_path"):
        Utility()
    with pytest.raises(ConfigError, match="bounds.fps needs min or max above 0"):
        Utility(bounds={"fps": {"min": 0}})


def fitted(path):
    """Useful is what moves, and what is not known to be dark."""
    features = (
        utility.Feature("motion", "stage utility 1", 10.0, 2.0, 1.0, 0.0, 0),
        utility.Feature("hdr", "stage utility 1", 0.5, 0.5, 0.0, -3.0, 5),
    )
    path.write_text(utility.as_json(utility.Utility(utility.LOGISTIC, 0.0, features), {}))
    return Utility(model_path=str(path), bounds=BOUNDS)


def test_a_fitted_model_reads_its_own_columns_and_replaces_the_blend(tmp_path):
    stage = fitted(tmp_path / "utility.json")
    assert stage.reads() == ("motion", "hdr")
    found = rows(stage, motion=[10.0, 14.0, None], hdr=[True, False, None])
    expected = 1 / (1 + np.exp([0.0, -2.0, 3.0]))
    assert np.array(found["utility"].to_pylist()) == pytest.approx(expected, abs=1e-4)
    assert found["error"].null_count == 3


def test_the_weights_count_and_their_place_and_the_unused_bounds_do_not(tmp_path):
    one, two = fitted(tmp_path / "one.json"), fitted(tmp_path / "two.json")
    assert one.signature([]) == two.signature([])
    assert one.signature([]) != Utility(bounds=BOUNDS).signature([])
    (tmp_path / "two.json").write_text((tmp_path / "two.json").read_text().replace("2.0", "3.0"))
    assert one.signature([]) != two.signature([])
