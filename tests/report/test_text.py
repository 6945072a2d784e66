"""The funnel and the comparison as they stand on a terminal."""

import pyarrow as pa

from hpc_curate.clips.thresholds import EFFECTS
from hpc_curate.report import text
from hpc_curate.run_folder.accounting import FUNNEL


def funnel(*rows):
    return pa.Table.from_pylist([dict(zip(FUNNEL.names, row, strict=True)) for row in rows], schema=FUNNEL)


def small(kept, slow):
    return funnel(
        ("videos in", None, 3, None, 1.5),
        ("videos failed", None, 1, None, None),
        ("videos failed", "no video stream\nat all", 1, None, None),
        ("videos pending", None, 0, None, 0.0),
        ("clips", None, 2, 1200, 1.25),
        ("clips failed", None, 1, 1, 0.001),
        ("clips failed", "embed: no frame", 1, 1, 0.001),
        ("rejected by select", None, 2, slow, 0.5),
        ("rejected by select", "motion below 0.1", 2, slow, 0.5),
        ("kept", None, 2, kept, 0.75),
        ("in tars", None, 2, kept, 0.75),
    )


def test_totals_stand_at_the_margin_and_what_was_lost_below_them():
    assert text.funnel(small(1199, 1)).splitlines() == [
        "                              videos  clips  h:mm:ss",
        "videos in                          3         1:30:00",
        "    videos failed                  1               ?",
        "      no video stream\N{REPLACEMENT CHARACTER}at all       1               ?",
        "clips                              2  1,200  1:15:00",
        "    clips failed                   1      1  0:00:04",
        "      embed: no frame              1      1  0:00:04",
        "    rejected by select             2      1  0:30:00",
        "      motion below 0.1             2      1  0:30:00",
        "kept                               2  1,199  0:45:00",
        "in tars                            2  1,199  0:45:00",
    ]


def test_rare_reasons_are_one_line():
    reasons = [("clips failed", f"error {number}", 1, 10 - number, 0.5) for number in range(9)]
    lines = text.funnel(funnel(("clips failed", None, 9, 54, 4.5), *reasons)).splitlines()
    assert len(lines) == 1 + 1 + 6 + 1
    assert lines[-1].split() == ["3", "other", "reasons", "9", "1:30:00"]


def test_selections_stand_side_by_side_with_the_reasons_of_all():
    other = funnel(
        ("clips", None, 2, 1200, 1.25),
        ("rejected by select", None, 2, 300, 0.5),
        ("rejected by select", "fps below 23", 2, 100, 0.2),
        ("rejected by select", "motion below 0.2", 2, 200, 0.3),
        ("kept", None, 2, 900, 0.5),
    )
    assert text.compare({"default": small(1199, 1), "strict": other}).splitlines() == [
        "clips                   default   strict",
        "clips                     1,200    1,200",
        "    clips failed              1        0",
        "    rejected by select        1      300",
        "      fps below 23            0      100",
        "      motion below 0.2        0      200",
        "      motion below 0.1        1        0",
        "kept                      1,199      900",
        "in tars                   1,199        0",
        "kept, h:mm:ss           0:45:00  0:30:00",
        "kept, % of clips           99.9     75.0",
    ]


def effects(*rows):
    return pa.Table.from_pylist([dict(zip(EFFECTS.names, row, strict=True)) for row in rows], schema=EFFECTS)


RULES = effects(
    ("gate", "fps below 10", 1200, 1, 1, 1),
    ("select", "motion below 0.1", 1199, 300, 40, 20),
    ("select", "motion above 3", 1199, 0, 0, 0),
    ("select", "codec forbidden", 1199, 7, 2, 0),
)


def test_rules_are_listed_by_filter_and_those_that_no_clip_met_are_one_line():
    assert text.effects(RULES).splitlines() == [
        "what each rule removes           alone  first  in total",
        "gate, 1,200 clips",
        "      fps below 10                   1      1         1",
        "select, 1,199 clips",
        "      motion below 0.1              20     40       300",
        "      codec forbidden                0      2         7",
        "      1 reason that no clip met      0      0         0",
        "alone: no other rule rejects them; first: as counted above; in total: whatever else rejects them",
    ]
    assert text.effects(EFFECTS.empty_table()) == ""


def test_rules_of_selections_stand_side_by_side_with_their_thresholds():
    other = effects(
        ("select", "motion below 0.25", 1199, 500, 90, 80), ("select", "luma_mean above 180", 1199, 3, 3, 3)
    )
    assert text.compare_effects({"default": RULES, "strict": other}).splitlines() == [
        "rules: threshold, alone / in total        default          strict",
        "    gate: fps below                     10  1 / 1               -",
        "    select: motion below            0.1  20 / 300  0.25  80 / 500",
        "    select: codec forbidden                 0 / 7               -",
        "    select: luma_mean above                     -      180  3 / 3",
        "    1 reason that no clip met",
    ]


def test_wide_characters_take_two_columns():
    assert text.aligned([["日本", "1"], ["abcd", "22"]]).splitlines() == ["日本   1", "abcd  22"]


def test_bytes_are_read_easily():
    assert [text.size(held) for held in (12, 3_200, 5e9, 2.5e12)] == ["12 B", "3.2 kB", "5 GB", "2.5 TB"]
    assert text.size(None) == "-"
