"""Pairs next to the similarity from which clips are duplicates."""

import pyarrow as pa

from hpc_curate.report import pairs


def edges(*rows):
    table = pa.Table.from_pylist(
        [dict(zip(("clip_a", "clip_b", "similarity", "method"), row, strict=True)) for row in rows]
    )
    return table.cast(table.schema.set(2, pa.field("similarity", pa.float32())))


def test_the_nearest_on_both_sides_are_taken_the_most_similar_first():
    found = edges(
        ("a", "b", 0.99, "embedding"),
        ("a", "c", 0.95, "embedding"),
        ("b", "c", 0.96, "embedding"),
        ("c", "d", 0.94, "embedding"),
        ("d", "e", 0.90, "embedding"),
        ("a", "e", 0.951, "phash"),
    )
    shown = pairs.borderline(found, "embedding", 0.95, 2).to_pylist()
    assert [(row["clip_a"], row["clip_b"]) for row in shown] == [("b", "c"), ("a", "c"), ("c", "d"), ("d", "e")]
    assert pairs.borderline(found, "phash", 0.9, 2).num_rows == 1
    assert pairs.borderline(found, "nothing", 0.9, 2).num_rows == 0


def test_what_select_asks_for_goes_before_what_dedup_states():
    stats = pa.table(
        {
            "method": ["embedding", "phash", "phash"],
            "statistic": ["threshold", "threshold", "pairs"],
            "value": [0.9, 0.8, 7.0],
        }
    )
    asked = {"stage": {"select": {"duplicate_similarity": {"embedding": 0.97, "phash": None, "frames": 1}}}}
    assert pairs.limits(stats, asked) == {"embedding": 0.97}
    assert pairs.limits(stats, {"stage": {}}) == {"embedding": 0.9, "phash": 0.8}
