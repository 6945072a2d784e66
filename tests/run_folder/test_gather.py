"""Tables of many units, read together: some clips are the rows of all, and a funnel needs few columns of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import synthetic_run

from hpc_curate.plan import Plan
from hpc_curate.run_folder import accounting, books
from hpc_curate.run_folder.gather import Gather
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

UNITS = 12  # more than are read one by one
CLIPS = 100  # of a unit


@pytest.fixture
def line(tmp_path: Path) -> Plan:
    """A run that is done as far as embed."""
    synthetic_run.input_table(tmp_path / "videos.parquet", UNITS * synthetic_run.VIDEOS_PER_UNIT)
    plan: Plan = synthetic_run.planned(tmp_path)
    synthetic_run.Synthetic(plan).scored()
    return plan


@pytest.fixture
def gather(line: Plan) -> Gather:
    state = State(line, Ledger(line.paths))
    return Gather(state, state.finished)


def test_a_table_is_its_units_one_behind_the_other(gather: Gather) -> None:
    clips = gather.table("shots", "rows", ["clip_id", "video_id"])
    alone = [Gather(gather.state, lambda stage, u=unit: [gather.records(stage)[u]]) for unit in range(UNITS)]
    assert clips.equals(pa.concat_tables(one.table("shots", "rows", ["clip_id", "video_id"]) for one in alone))
    assert clips.num_rows == UNITS * CLIPS


def test_the_rows_of_a_few_clips_are_those_of_the_whole_table(gather: Gather) -> None:
    whole = gather.table("embed", "rows", ["clip_id", "embedding"])
    few = whole["clip_id"].take(pa.array([1100, 3, 500])).combine_chunks()
    found = gather.rows_among("embed", ["clip_id", "embedding"], few)
    assert found.equals(whole.filter(pc.is_in(whole["clip_id"], value_set=few)))
    assert found.num_rows == 3
    assert gather.rows_among("embed", ["clip_id"], pa.array(["unknown"])).num_rows == 0


def test_of_a_few_clips_only_their_own_units_are_read(gather: Gather) -> None:
    whole = gather.table("embed", "rows", ["clip_id"])
    few = whole["clip_id"].take(pa.array([0, 1])).combine_chunks()
    for record in gather.records("embed")[1:]:
        for path in gather.state.ledger.outputs(record, "rows"):
            path.unlink()
    assert gather.rows_among("embed", ["clip_id"], few)["clip_id"].to_pylist() == few.to_pylist()


def test_every_clip_has_its_unit_and_nulls_where_a_stage_was_not_asked(gather: Gather) -> None:
    clips = gather.every_clip({"shots": ["motion"], "gate": ["gate_keep"], "embed": ["embedding_model"]})
    assert clips["unit"].to_pylist() == [unit for unit in range(UNITS) for _ in range(CLIPS)]
    asked = pc.is_valid(clips["embedding_model"])
    assert asked.to_pylist() == clips["gate_keep"].to_pylist()
    assert asked.to_pylist() == [motion >= 0.003 for motion in clips["motion"].to_pylist()]


def test_a_funnel_from_the_columns_that_it_counts_is_the_funnel(line: Plan) -> None:
    few, whole = books.read(line, accounting.COUNTED), books.read(line)
    assert accounting.funnel(few).equals(accounting.funnel(whole))
    assert len(few.clips.column_names) < len(whole.clips.column_names) / 2
