"""The gate, on clips that are judged by eye."""

import pyarrow as pa
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.stage import Item
from hpc_curate.stages.gate import ROWS, Gate


class Clips:
    """Inputs that hold one table of clips."""

    def __init__(self, table):
        self.table = table

    def clips(self, columns, ids=None):
        return self.table.select(["clip_id", *columns])


SHOTS = Clips(
    pa.table(
        {
            "clip_id": ["a_0_50", "a_50_90", "b_0_30"],
            "start_pts": [0, 50, 0],
            "motion": [0.5, None, 0.0],
            "width": [1280, 1280, 320],
            "height": [720, 720, 240],
        }
    )
)


def test_every_clip_gets_a_verdict_and_all_its_reasons():
    gate = Gate(rules={"motion": {"min": 0.1, "missing": "keep"}, "short_side_px": {"min": 480}})
    rows = gate.process(None, SHOTS, Item("all", ()))["rows"]
    assert rows.schema == ROWS
    assert rows.to_pylist() == [
        {"clip_id": "a_0_50", "gate_keep": True, "gate_reason": None, "gate_reasons": []},
        {"clip_id": "a_50_90", "gate_keep": True, "gate_reason": None, "gate_reasons": []},
        {
            "clip_id": "b_0_30",
            "gate_keep": False,
            "gate_reason": "motion below 0.1",
            "gate_reasons": ["motion below 0.1", "short_side_px below 480"],
        },
    ]


def test_without_rules_it_keeps_all_and_still_depends_on_the_spans():
    assert Gate().process(None, SHOTS, Item("all", ()))["rows"]["gate_keep"].to_pylist() == [True] * 3
    assert Gate().reads() == ("start_pts",)


def test_it_reads_the_columns_of_its_rules():
    gate = Gate(rules={"short_side_px": {"min": 480}, "slow": {"column": "motion", "max": 1}, "sharpness": None})
    assert gate.reads() == ("start_pts", "width", "height", "motion")


def test_percentiles_and_unknown_settings_are_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="percentiles need all clips"):
        Gate(rules={"motion": {"min_percentile": 10}})
    with pytest.raises(ConfigError, match="did you mean 'max'"):
        Gate(rules={"motion": {"mx": 10}})


def test_the_order_of_the_rules_is_part_of_the_signature_and_a_rule_switched_off_is_not():
    first, second = {"motion": {"min": 1}}, {"sharpness": {"min": 5}}
    assert Gate(rules={**first, **second}).signature([]) != Gate(rules={**second, **first}).signature([])
    assert Gate(rules={**first, "sharpness": None}).signature([]) == Gate(rules=first).signature([])
