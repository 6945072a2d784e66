"""Rules, on tables small enough to judge by eye."""

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.clips import rules
from hpc_curate.errors import ConfigError, UnitFailed


def clips(**columns):
    count = len(next(iter(columns.values())))
    return pa.table({"clip_id": [f"clip{number}" for number in range(count)], **columns})


def judged(settings, table):
    return rules.apply(rules.parse(settings, percentiles=True), table)


def kept(settings, table):
    return judged(settings, table)["keep"].to_pylist()


def reasons(settings, table):
    return judged(settings, table)["reason"].to_pylist()


def test_bounds_belong_to_what_is_kept():
    table = clips(motion=[0.9, 1.0, 2.0, 3.0, 3.1])
    assert kept({"motion": {"min": 1, "max": 3}}, table) == [False, True, True, True, False]
    assert reasons({"motion": {"min": 1, "max": 3}}, table) == ["motion below 1", None, None, None, "motion above 3"]


def test_allowed_and_forbidden_take_words_numbers_and_booleans():
    table = clips(codec=["h264", "gif"], hdr=[False, True], rotation=pa.array([0, 90], pa.int32()))
    assert reasons({"codec": {"allowed": ["h264", "hevc"]}}, table) == [None, "codec not allowed"]
    assert reasons({"codec": {"forbidden": ["gif"]}}, table) == [None, "codec forbidden"]
    assert reasons({"hdr": {"allowed": [False]}}, table) == [None, "hdr not allowed"]
    assert reasons({"rotation": {"forbidden": [90, 270]}}, table) == [None, "rotation forbidden"]


@pytest.mark.parametrize("rule", [{"min": 0}, {"max": 9}, {"allowed": [1.0]}, {"min_percentile": 0}, {}])
def test_a_missing_value_is_rejected_unless_the_rule_says_otherwise(rule):
    table = clips(score=[1.0, None, float("nan")])
    assert reasons({"score": rule}, table) == [None, "score missing", "score missing"]
    assert reasons({"score": {**rule, "missing": "keep"}}, table) == [None, None, None]
    with pytest.raises(UnitFailed, match="2 of 3 clips have no 'score'"):
        judged({"score": {**rule, "missing": "fail"}}, table)


def test_a_column_of_nulls_without_a_type_is_missing():
    assert reasons({"score": {"min": 1}}, clips(score=[None, None])) == ["score missing"] * 2


def test_all_reasons_stand_in_the_order_of_the_rules():
    table = clips(motion=[0.0, 5.0], codec=["gif", "h264"], score=[None, 1.0])
    settings = {"codec": {"forbidden": ["gif"]}, "score": {"min": 0}, "motion": {"min": 1}}
    verdicts = judged(settings, table)
    assert verdicts["reasons"].to_pylist() == [["codec forbidden", "score missing", "motion below 1"], []]
    assert verdicts["reason"].to_pylist() == ["codec forbidden", None]
    assert verdicts.schema == rules.VERDICTS


def test_a_rule_may_have_a_name_of_its_own_and_may_be_switched_off():
    table = clips(motion=[0.0, 5.0])
    settings = {"still": {"column": "motion", "min": 1}, "wild": {"column": "motion", "max": 4}}
    assert reasons(settings, table) == ["still: motion below 1", "wild: motion above 4"]
    assert reasons({**settings, "still": None}, table) == [None, "wild: motion above 4"]


def test_without_rules_every_clip_is_kept():
    assert judged({}, clips(motion=[1.0, None])).to_pylist() == [
        {"clip_id": "clip0", "keep": True, "reason": None, "reasons": []},
        {"clip_id": "clip1", "keep": True, "reason": None, "reasons": []},
    ]


def test_no_rows_in_means_no_rows_out():
    table = clips(motion=pa.array([], pa.float32()))
    assert judged({"motion": {"min": 1, "min_percentile": 10}}, table).num_rows == 0


def test_percentiles_reject_a_share_of_the_clips():
    table = clips(score=np.arange(100.0))
    assert sum(kept({"score": {"min_percentile": 15}}, table)) == 85
    assert sum(kept({"score": {"max_percentile": 90}}, table)) == 90
    assert reasons({"score": {"min_percentile": 15, "max_percentile": 90}}, table)[::99] == [
        "score in the lowest 15 %",
        "score in the highest 10 %",
    ]


def test_percentiles_are_over_the_clips_that_pass_the_absolute_bounds_whatever_the_order_of_the_rules():
    table = clips(score=np.arange(100.0), motion=[0.0] * 50 + [1.0] * 50)
    relative, absolute = {"score": {"min_percentile": 10}}, {"motion": {"min": 1}}
    for settings in ({**relative, **absolute}, {**absolute, **relative}):
        assert [i for i, keep in enumerate(kept(settings, table)) if keep] == list(range(55, 100))
    assert rules.limits(rules.parse({**relative, **absolute}, percentiles=True), table) == {
        "score": (pytest.approx(54.9), None)
    }


def test_a_column_of_one_value_has_no_lowest_part():
    assert kept({"score": {"min_percentile": 50, "max_percentile": 50}}, clips(score=[3, 3, 3])) == [True] * 3


def test_sizes_and_shapes_are_derived_from_width_and_height():
    table = clips(width=[1920, 1080, 3000], height=[1080, 1920, 480], crop_w=[1920, 1080, 400], crop_h=[800, 1920, 480])
    assert reasons({"short_side_px": {"min": 720}, "aspect": {"min": 0.5, "max": 3}}, table) == [
        None,
        None,
        "short_side_px below 720",
    ]
    assert judged({"crop_pixels": {"min": 1_536_000}}, table)["keep"].to_pylist() == [True, True, False]
    assert rules.columns(["aspect", "motion", "pixels", "motion"]) == ("width", "height", "motion")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"motion": {"min": 2, "max": 1}}, "min 2 is above max 1"),
        ({"motion": {"min_percentile": 90, "max_percentile": 10}}, "min_percentile 90 is above"),
        ({"motion": {"min_percentile": 101}}, "between 0 and 100"),
        ({"motion": {"minimum": 1}}, "no setting 'minimum'; did you mean 'min'?"),
        ({"motion": 3}, "must be a mapping"),
        ({"motion": {"min": "fast"}}, "must be a number"),
        ({"motion": {"min": float("nan")}}, "must be a number"),
        ({"hdr": {"min": True}}, "must be a number"),
        ({"codec": {"allowed": "h264"}}, "must be a list"),
        ({"codec": {"allowed": []}}, "at least one value"),
        ({"motion": {"missing": "drop"}}, "one of reject, keep, fail"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        rules.parse(settings, percentiles=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"moton": {"min": 2}}, "no column 'moton'; did you mean 'motion'?"),
        ({"codec": {"min": 2}}, "holds string, not numbers"),
        ({"motion": {"allowed": ["fast"]}}, "cannot be compared"),
    ],
)
def test_a_rule_that_does_not_fit_the_table_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        judged(settings, clips(motion=[1.0], codec=["h264"]))


def test_percentiles_can_be_forbidden():
    with pytest.raises(ConfigError, match="percentiles need all clips"):
        rules.parse({"motion": {"min_percentile": 5}}, percentiles=False)


def test_arrow_chunks_make_no_difference():
    table = clips(motion=[0.0, 1.0, 2.0, 3.0], codec=["a", "b", "a", "b"])
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    settings = {"motion": {"min": 1, "max_percentile": 80}, "codec": {"forbidden": ["b"]}}
    assert judged(settings, chunked).to_pylist() == judged(settings, table).to_pylist()


def test_a_rule_says_beforehand_all_that_it_may_say_of_a_clip():
    settings = {"motion": {"min": 1, "max": 3, "max_percentile": 80}, "dull": {"column": "score", "missing": "keep"}}
    motion, dull = (rules.reasons(name, rule) for name, rule in rules.parse(settings, percentiles=True).items())
    assert list(motion) == ["missing", "min", "max", "max_percentile"]
    said = {reason for reason in reasons(settings, clips(motion=[0, 2, 2.5, 4, None], score=[1.0] * 5)) if reason}
    assert said == set(motion.values())
    assert dull == {}


def test_rules_that_are_no_mapping_are_refused():
    with pytest.raises(ConfigError, match="rules are None; they must be a mapping"):
        rules.parse(None, percentiles=True)
