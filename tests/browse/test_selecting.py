import pyarrow as pa

from hpc_curate import plan as plans
from hpc_curate.browse import selecting
from hpc_curate.browse.catalogue import open_collection


def test_moved_rules_end_as_select_would_end_near_duplicates_included(judged_run):
    collection = open_collection(str(judged_run))
    rows = collection.catalogue().rows
    selection = selecting.of(plans.load_latest(judged_run), rows)
    collection.close()
    assert selection.exact
    asked, lenient = selection.outcome(selection.rules), selection.outcome({})
    # As the run says itself.
    assert asked.states == dict(zip(rows["id"].to_pylist(), rows["state"].to_pylist(), strict=True))
    assert asked.reasons == {"duplicate": 1, "motion below 0.002": 1}
    assert (asked.kept, lenient.kept) == (2, 3)
    assert selection.outcome({"motion": {"min": 1e9}}).kept == 0


def test_without_a_run_rules_alone_decide():
    rows = pa.table({"id": ["a", "b", "c"], "fps": [10.0, 20.0, 30.0]})
    selection = selecting.of(None, rows)
    assert not selection.exact
    assert selection.outcome({}).kept == 3
    assert selection.outcome({"fps": {"min": 15}}).reasons == {"fps below 15": 1}


def test_what_was_moved_is_said_as_overrides():
    before = {"motion": {"min": 0.1, "max": 9}, "fps": None}
    after = {"motion": {"min": 0.2, "max": 9}, "fps": {"min": 15}}
    assert selecting.overrides(before, after) == ["stage.select.rules.motion.min=0.2", "+stage.select.rules.fps.min=15"]
