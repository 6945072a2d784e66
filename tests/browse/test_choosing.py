import numpy as np
import pyarrow as pa

from hpc_curate.browse import choosing
from hpc_curate.browse.choosing import Choice
from hpc_curate.clips.rules import Rule

ROWS = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "name": ["Red car.mp4", "blue car.mp4", "tree.mp4", None],
        "motion": [0.5, None, 0.1, 0.9],
        "state": ["kept", "kept", "rejected", None],
        "reasons": [[], ["motion below 0.2", "dull"], ["dull"], None],
        "nothing": pa.nulls(4, pa.string()),
    }
)


def ids(rows: np.ndarray) -> list[str]:
    return ROWS["id"].take(pa.array(rows)).to_pylist()


def test_columns_are_chosen_by_what_they_hold_and_empty_ones_not_at_all():
    assert choosing.kinds(ROWS) == {"name": "text", "motion": "numbers", "state": "words", "reasons": "text"}


def test_bounds_words_and_parts_of_texts_must_all_be_met():
    assert ids(choosing.matching(ROWS, Choice())) == ["a", "b", "c", "d"]
    assert ids(choosing.matching(ROWS, Choice({"motion": Rule("motion", min=0.2)}))) == ["a", "d"]
    assert ids(choosing.matching(ROWS, Choice({"state": Rule("state", allowed=["kept"])}))) == ["a", "b"]
    assert ids(choosing.matching(ROWS, Choice(texts={"name": "CAR"}))) == ["a", "b"]
    assert ids(choosing.matching(ROWS, Choice(texts={"name": "car", "reasons": "dull"}))) == ["b"]


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another():
    rows = np.arange(1000)
    table = pa.table({"id": [str(row) for row in rows]})
    first = choosing.drawn(table, rows, Choice(samples=36, seed=1))
    assert len(set(first)) == 36
    assert (choosing.drawn(table, rows, Choice(samples=36, seed=1)) == first).all()
    assert (choosing.drawn(table, rows, Choice(samples=12, seed=1)) == first[:12]).all()
    assert (choosing.drawn(table, rows, Choice(samples=36, seed=2)) != first).any()


def test_by_a_column_the_first_ones_are_taken_and_those_without_a_value_come_last():
    every = np.arange(4)
    assert ids(choosing.drawn(ROWS, every, Choice(column="motion", samples=2))) == ["d", "a"]
    assert ids(choosing.drawn(ROWS, every, Choice(column="motion", descending=False))) == ["c", "a", "d", "b"]
