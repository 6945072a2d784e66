"""What the page of thresholds is made of, on clips that are judged by the rules themselves."""

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.clips import rules
from hpc_curate.records import UNITS
from hpc_curate.report import thresholds
from hpc_curate.report.thresholds import Selection
from hpc_curate.run_folder.accounting import Books

RULES = {"motion": {"min": 1, "max": 6, "min_percentile": 10}, "codec": {"forbidden": ["gif"]}, "fps": {"min": 16}}


def books(settings, count=200):
    """Clips of one video, judged by select alone."""
    random, number = np.random.default_rng(5), np.arange(count)
    clips = pa.table(
        {
            "clip_id": [f"film_{at}_x" for at in number],
            "video_id": ["film"] * count,
            "start_s": 4.0 * number,
            "end_s": 4.0 * number + 4,
            "motion": pa.array((random.random(count) * 8).round(3), mask=number == 7),
            "speed": number % 40 * 1.0,
            "codec": random.choice(["gif", "h264"], count, p=[0.1, 0.9]),
            "fps": random.choice([12.0, 25.0], count, p=[0.1, 0.9]),
            "steady": np.ones(count),
            "error": pa.nulls(count, pa.string()),
        }
    )
    clips = clips.append_column("haste", pa.array(np.exp(clips["motion"].to_numpy())))
    found = rules.apply(rules.parse(settings, percentiles=True), clips)
    state = np.where(found["keep"].to_numpy(), "kept", "rejected")
    judged = {"state": pa.array(state), "reason": found["reason"], "reasons": found["reasons"]}
    for name, column in judged.items():
        clips = clips.append_column(name, column)
    frozen = pa.Table.from_pylist([{"unit": 0, "video_id": "film", "uri": "/in/f", "name": "f"}], schema=UNITS)
    return Books(frozen, frozen, frozen, frozen, clips)


def selection(settings=RULES, name="select"):
    return Selection(name, books(settings), {"stage": {"select": {"rules": settings}}})


def test_counts_say_how_many_clips_are_left_where():
    one = selection()
    kept = one.books.clips["state"].to_pylist().count("kept")
    assert one.counts == thresholds.Counts(200, 200, kept, kept)


def test_a_column_has_a_card_with_its_bounds_and_the_clips_on_both_sides():
    motion, codec, fps = thresholds.cards([selection()], near=4)
    assert motion.said == {"select": "≥ 1 ≤ 6 without the lowest 10 % of the clips that meet all fixed bounds"}
    assert [sheet.bound.lower for sheet in motion.sheets] == [True, False, True]
    below = motion.sheets[0]
    values = [float(sample.note.split(",")[0]) for sample in (*below.outside, *below.inside)]
    assert values == sorted(values)
    assert values[3] < 1 <= values[4]
    assert all("motion below 1" in sample.more for sample in below.outside)
    assert (codec.survivors, len(codec.sheets)) == (None, 0)
    assert "<td>gif</td>" in codec.spread
    assert {sample.note.split(",")[0] for sample in fps.sheets[0].outside} == {"12"}


def test_a_clip_that_others_reject_too_says_how_many():
    one = selection({"motion": {"min": 7.9}, "fps": {"min": 16}, "codec": {"forbidden": ["gif"]}})
    *_, fps = (sheet for card in thresholds.cards([one], near=20) for sheet in card.sheets)
    assert any(sample.note == "12, 1 more" and ", " in sample.more for sample in fps.outside)


def test_selections_share_a_picture_and_have_a_colour_each():
    several = [selection(name="wide"), selection({**RULES, "motion": {"min": 2}}, "narrow")]
    motion = thresholds.cards(several, near=2)[0]
    assert motion.said == {
        "wide": "≥ 1 ≤ 6 without the lowest 10 % of the clips that meet all fixed bounds",
        "narrow": "≥ 2",
    }
    assert motion.survivors.count("<polyline") == 4
    assert 'class="line lower s1"' in motion.survivors
    assert [sheet.bound.value for sheet in motion.sheets].count(2.0) == 1
    assert 'class="kept"' not in motion.spread


def test_columns_that_rank_clips_alike_are_named_and_those_that_never_vary_are_left_out():
    found = thresholds.correlations(selection())
    assert found.names == ["motion", "fps", "speed", "haste"]
    assert [(first, second) for first, second, _ in found.alike] == [("motion", "haste")]
    assert found.alike[0][2] == pytest.approx(1.0)


def test_what_was_measured_of_kept_clips_only_is_no_score():
    one = selection()
    kept = one.books.clips["state"].to_pylist()
    cut = pa.array([float(at) if state == "kept" else None for at, state in enumerate(kept)])
    late = Books(*[one.books.units] * 4, one.books.clips.append_column("cut_bytes", cut))
    assert "cut_bytes" not in thresholds.correlations(Selection("select", late, one.question)).names


def test_without_select_and_gate_there_is_nothing_to_choose():
    bare = books({})
    bare = Books(*[bare.units] * 4, bare.clips.drop_columns(["state", "reason", "reasons"]))
    none = Selection("none", bare, {"stage": {"scan": {}}})
    assert thresholds.cards([none], near=4) == []
    assert none.effects.num_rows == 0
    assert none.counts == thresholds.Counts(200, 0, 0, 0)


def test_before_anything_is_judged_the_rules_are_known_and_have_met_nobody():
    whole = books(RULES)
    clips = whole.clips.drop_columns(["state", "reason", "reasons"])
    nulls = {"state": pa.string(), "reason": pa.string(), "reasons": pa.list_(pa.string())}
    for name, kind in nulls.items():
        clips = clips.append_column(name, pa.nulls(len(clips), kind))
    early = Selection("select", Books(*[whole.units] * 4, clips), {"stage": {"select": {"rules": RULES}}})
    assert early.counts == thresholds.Counts(200, 0, 0, 0)
    assert set(early.effects["clips"].to_pylist()) == {0}
    motion = thresholds.cards([early], near=4)[0]
    assert motion.spread is not None
    assert all(not sheet.outside and not sheet.inside for sheet in motion.sheets)
    assert thresholds.correlations(early) is None
