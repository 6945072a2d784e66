import pyarrow as pa
import pytest

from hpc_curate import plan as plans
from hpc_curate.browse import grouping

EDGES = pa.table(
    {
        "clip_a": ["a", "a", "b", "d"],
        "clip_b": ["b", "b", "c", "e"],
        "similarity": pa.array([0.9, 0.97, 0.93, 1.0], pa.float32()),
        "method": ["embedding", "phash", "embedding", "bytes"],
    }
)


def test_in_a_group_the_kept_clip_comes_first_and_the_others_by_their_likeness_to_it():
    rows = pa.table(
        {
            "id": ["a", "b", "c", "d", "e", "f"],
            "duplicate_group": ["a", "a", "a", "d", "d", None],
            "state": ["rejected", "kept", "rejected", "rejected", "rejected", "kept"],
        }
    )
    three, two = grouping.groups(rows, EDGES)
    assert [(member.row, member.method) for member in three] == [(1, ""), (0, "phash"), (2, "embedding")]
    assert [member.similarity for member in three] == [None, pytest.approx(0.97), pytest.approx(0.93)]
    assert [member.row for member in two] == [3, 4]


def test_the_edges_of_a_run_are_those_that_dedup_found(judged_run):
    edges = grouping.edges(plans.load_latest(judged_run))
    assert edges is not None
    assert edges.num_rows >= 1
    assert edges.column_names == ["clip_a", "clip_b", "similarity", "method"]
