"""Selections over clips that are judged by eye, and one over a million."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hpc_curate.errors import ConfigError, MergeRefused
from hpc_curate.stages.gate import Gate
from hpc_curate.stages.select import ROWS, Select

CONF = Path(__file__).resolve().parents[2] / "conf"

CLIPS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("start_pts", pa.int64()),
        ("motion", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("gate_keep", pa.bool_()),
        ("gate_reason", pa.string()),
        ("gate_reasons", pa.list_(pa.string())),
        ("embedding_model", pa.string()),
        ("error", pa.string()),
        ("unit", pa.int32()),
    ]
)
EDGES = pa.schema(
    [("clip_a", pa.string()), ("clip_b", pa.string()), ("similarity", pa.float32()), ("method", pa.string())]
)
STATS = pa.table(
    {
        "method": ["bytes", "phash", "embedding", "embedding"],
        "statistic": ["threshold", "threshold", "threshold", "recall"],
        "at": [None, None, None, 0.95],
        "value": [1.0, 0.9, 0.95, 0.991],
    }
)
BY_MOTION = {"ranking": ("motion",)}


class Line:
    """Inputs: the tables of the stages before."""

    def __init__(self, clips, edges=(), stats=STATS):
        rows = [{"gate_keep": True, "gate_reasons": [], "unit": 0, "start_pts": 0, **row} for row in clips]
        self.clips = pa.Table.from_pylist(rows, schema=CLIPS)
        rows = [dict(zip(EDGES.names, edge, strict=True)) for edge in edges]
        self.tables = {"edges": pa.Table.from_pylist(rows, schema=EDGES), "dedup_stats": stats}
        self.asked = []

    def all_clips(self, columns):
        self.asked.append(tuple(columns))
        return self.clips.select(["clip_id", *columns, "error", "unit"])

    def table(self, name, columns=None):
        self.asked.append(name)
        return self.tables[name]


def fast(*names):
    """Clips, the first the fastest."""
    return [{"clip_id": name, "motion": float(len(names) - at)} for at, name in enumerate(names)]


def selected(line, **settings):
    return Select(**settings).run(None, line)["rows"]


def kept(line, **settings):
    rows = selected(line, **settings)
    return rows.filter(rows["keep"])["clip_id"].to_pylist()


def test_gate_errors_rules_and_duplicates_each_leave_their_word():
    line = Line(
        [
            {"clip_id": "a", "motion": 9.0, "unit": 3},
            {"clip_id": "b", "motion": 1.0},
            {"clip_id": "c", "motion": 8.0},
            {"clip_id": "d", "gate_keep": False, "gate_reason": "fps below 10", "gate_reasons": ["fps below 10", "x"]},
            {"clip_id": "e", "motion": 7.0, "error": "embed: no frame"},
        ],
        [("a", "c", 0.99, "embedding")],
    )
    rows = selected(line, rules={"motion": {"min": 2}}, **BY_MOTION)
    assert rows.schema == ROWS
    nothing = {"unit": 0, "keep": False, "reason": None, "reasons": [], "duplicate_of": None, "error": None}
    low = ["motion below 2"]
    gate = ["fps below 10", "x"]
    assert rows.to_pylist() == [
        {"clip_id": "a", **nothing, "state": "kept", "keep": True, "unit": 3},
        {"clip_id": "b", **nothing, "state": "rejected", "reason": low[0], "reasons": low},
        {"clip_id": "c", **nothing, "state": "rejected", "reason": "duplicate", "reasons": ["duplicate"]}
        | {"duplicate_of": "a"},
        {"clip_id": "d", **nothing, "state": "rejected", "reason": gate[0], "reasons": gate},
        {"clip_id": "e", **nothing, "state": "failed", "error": "embed: no frame"},
    ]


def test_a_group_whose_best_member_failed_a_rule_keeps_its_second_best():
    edges = [("best", "second", 0.99, "embedding"), ("best", "third", 0.99, "embedding")]
    edges += [("second", "third", 0.99, "embedding")]
    line = Line(fast("best", "second", "third"), edges)
    assert kept(line, **BY_MOTION) == ["best"]
    assert kept(line, rules={"motion": {"max": 2.5}}, **BY_MOTION) == ["second"]


def test_a_dropped_clip_drops_nobody():
    line = Line(fast("a", "b", "c"), [("a", "b", 0.99, "embedding"), ("b", "c", 0.99, "embedding")])
    assert kept(line, **BY_MOTION) == ["a", "c"]


def test_rejected_and_failed_clips_drop_nobody():
    clips = fast("gated", "failed", "good")
    clips[0] |= {"gate_keep": False, "gate_reason": "fps below 10", "gate_reasons": ["fps below 10"]}
    clips[1] |= {"error": "text: crashed"}
    edges = [("gated", "good", 1.0, "bytes"), ("failed", "good", 1.0, "bytes")]
    assert kept(Line(clips, edges), **BY_MOTION) == ["good"]


def test_the_threshold_of_a_method_is_dedups_unless_it_is_given_or_switched_off():
    edges = [("a", "b", 0.96, "embedding"), ("a", "c", 0.91, "phash"), ("a", "d", 0.94, "embedding")]
    line = Line(fast("a", "b", "c", "d", "e"), edges)
    assert kept(line, **BY_MOTION) == ["a", "d", "e"]
    assert kept(line, **BY_MOTION, duplicate_similarity={"embedding": 0.94}) == ["a", "e"]
    assert kept(line, **BY_MOTION, duplicate_similarity={"embedding": None}) == ["a", "b", "d", "e"]
    assert kept(line, **BY_MOTION, duplicates=False) == ["a", "b", "c", "d", "e"]


def test_a_method_that_dedup_does_not_know_is_refused():
    with pytest.raises(ConfigError, match="no method 'embeding'; did you mean 'embedding'"):
        selected(Line(fast("a")), **BY_MOTION, duplicate_similarity={"embeding": 0.9})
    without = STATS.slice(0, 2)
    assert kept(Line(fast("a"), stats=without), **BY_MOTION, duplicate_similarity={"embedding": None}) == ["a"]
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Select(duplicate_similarity={"embedding": 97})


def test_an_edge_to_a_clip_that_is_not_there_is_refused():
    with pytest.raises(MergeRefused, match="run dedup again"):
        selected(Line(fast("a"), [("a", "gone", 1.0, "bytes")]), **BY_MOTION)


def test_the_ranking_decides_column_by_column_then_by_id():
    clips = [
        {"clip_id": "d", "motion": 1.0, "width": 10, "height": 10},
        {"clip_id": "c", "motion": None, "width": 10, "height": 20},
        {"clip_id": "b", "motion": 2.0, "width": 20, "height": 10},
        {"clip_id": "a", "motion": 2.0, "width": 20, "height": 10},
    ]
    edges = [(x, y, 1.0, "bytes") for x in "abcd" for y in "abcd" if x < y]

    def keeper(*ranking):
        return kept(Line(clips, edges), ranking=ranking)

    assert keeper("pixels", "motion") == ["a"]
    assert keeper("pixels", "-motion") == ["a"]
    assert keeper("-pixels") == ["d"]
    assert keeper("-motion") == ["d"]
    assert kept(Line(clips[:3], edges[:0] + [("b", "c", 1.0, "bytes")]), ranking=("motion",)) == ["d", "b"]


def test_percentiles_are_over_the_clips_that_could_be_kept():
    gated = {"gate_keep": False, "gate_reason": "x", "gate_reasons": ["x"]}
    clips = [{"clip_id": f"c{n}", "motion": float(n)} for n in range(10)]
    clips += [{"clip_id": f"g{n}", "motion": -1.0, **gated} for n in range(10)]
    clips += [{"clip_id": f"f{n}", "motion": -1.0, "error": "embed: no frame"} for n in range(10)]
    assert kept(Line(clips), rules={"motion": {"min_percentile": 20}}, **BY_MOTION) == [f"c{n}" for n in range(2, 10)]


def test_it_reads_what_its_rules_and_its_ranking_name_and_no_edges_when_duplicates_stay():
    select = Select(rules={"crop_aspect": {"max": 3}, "text": None}, ranking=("-motion", "pixels"))
    gate = ("start_pts", "gate_keep", "gate_reason", "gate_reasons")
    ranking = ("motion", "width", "height", "embedding_model")
    assert select.reads() == (*gate, "crop_w", "crop_h", *ranking, "edges", "dedup_stats")
    assert Select(rules={"motion": {"min": 1}}, duplicates=False).reads() == (*gate, "motion")
    line = Line(fast("a"))
    Select(duplicates=False).run(None, line)
    assert line.asked == [gate]


def test_no_embedding_is_asked_for_when_embeddings_do_not_count():
    assert "embedding_model" not in Select(duplicate_similarity={"embedding": None}).reads()


def test_a_list_of_reasons_that_went_through_parquet_fits(tmp_path):
    line = Line(fast("a", "b"))
    pq.write_table(line.clips, tmp_path / "clips.parquet")
    line.clips = pq.read_table(tmp_path / "clips.parquet")
    assert kept(line, **BY_MOTION) == ["a", "b"]


def test_the_settings_tell_selections_apart():
    strict, lenient = {"motion": {"min": 2}}, {"motion": {"min": 1}}
    assert Select(rules=strict).signature([]) != Select(rules=lenient).signature([])
    assert Select(rules=strict).signature([]) == Select(rules={**strict, "text": None}).signature([])


def test_a_million_clips_take_seconds():
    count = 1_000_000
    random = np.random.default_rng(0)
    ids = pa.array([f"{number:020x}_0_{number}" for number in range(count)])
    clips = pa.table(
        {
            "clip_id": ids,
            "start_pts": np.zeros(count, np.int64),
            "motion": random.random(count),
            "width": random.integers(100, 4000, count),
            "height": random.integers(100, 4000, count),
            "gate_keep": random.random(count) < 0.9,
            "gate_reason": pa.nulls(count, pa.string()),
            "gate_reasons": pa.nulls(count, pa.list_(pa.string())),
            "embedding_model": pa.nulls(count, pa.string()),
            "error": pa.nulls(count, pa.string()),
            "unit": np.repeat(np.arange(1000, dtype=np.int32), count // 1000),
        }
    )
    line = Line([])
    line.clips = clips
    ends = random.integers(0, count, (2, 100_000))
    line.tables["edges"] = pa.table(
        [ids.take(pa.array(ends[0])), ids.take(pa.array(ends[1])), np.ones(100_000, np.float32), ["bytes"] * 100_000],
        schema=EDGES,
    )
    rules = {
        "motion": {"min": 0.1, "min_percentile": 5},
        "short_side_px": {"min": 480},
        "aspect": {"min": 0.3, "max": 3},
    }
    before = time.process_time()
    rows = selected(line, rules=rules, ranking=("pixels", "motion"))
    assert time.process_time() - before < 30
    assert rows.num_rows == count
    duplicates = rows.filter(pa.compute.is_valid(rows["duplicate_of"]))
    assert 1000 < duplicates.num_rows < 100_000
    assert set(duplicates["duplicate_of"].to_pylist()) <= set(rows.filter(rows["keep"])["clip_id"].to_pylist())


# -- conf ----------------------------------------------------------------------------------------------------------


def conf(group, name):
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", ["lenient", "default", "strict"])
def test_the_selections_of_conf_are_valid_and_name_columns_that_are_measured(name):
    from hpc_curate import registry
    from hpc_curate.records import CLIPS as OF_SHOTS

    written = set(OF_SHOTS.names) | {"gate_keep", "gate_reason", "gate_reasons", "embedding_model"}
    for measure in registry.names("measure"):
        written |= set(registry.load("measure", measure).columns.names)
    settings = conf("select", name)
    select = Select(**{**settings, "ranking": tuple(settings["ranking"])})
    assert set(select.reads()) - {"edges", "dedup_stats"} <= written
    assert set(Gate(**conf("gate", "default")).reads()) <= written


def bounds(settings):
    """The least and the greatest that each column may be."""
    rules = {name: rule for name, rule in settings["rules"].items() if rule}
    return {name: (rule.get("min", -np.inf), rule.get("max", np.inf)) for name, rule in rules.items()}


@pytest.mark.parametrize(
    ("loose", "tight"),
    [(("gate", "default"), ("select", "lenient")), (("select", "lenient"), ("select", "default"))]
    + [(("select", "default"), ("select", "strict"))],
)
def test_what_a_tighter_selection_keeps_a_looser_one_does_too(loose, tight):
    outer, inner = bounds(conf(*loose)), bounds(conf(*tight))
    assert set(outer) <= set(inner)
    assert all(outer[name][0] <= inner[name][0] and inner[name][1] <= outer[name][1] for name in outer)


def test_a_quota_keeps_the_best_of_each_value_and_says_so():
    clips = [{**clip, "width": width} for clip, width in zip(fast("a", "b", "c", "d"), (1, 1, 2, None), strict=True)]
    rows = selected(Line(clips), quotas={"width": 1, "height": None}, duplicates=False, **BY_MOTION)
    assert rows["keep"].to_pylist() == [True, False, True, True]
    assert rows["reason"].to_pylist() == [None, "over the quota of width", None, None]
    assert rows["reasons"].to_pylist() == [[], ["over the quota of width"], [], []]
    assert rows["state"].to_pylist() == ["kept", "rejected", "kept", "kept"]


def test_rules_come_before_quotas_and_duplicates_take_no_place():
    clips = [{**clip, "width": 1} for clip in fast("bad", "a", "copy", "b", "c")]
    line = Line(clips, [("a", "copy", 0.99, "embedding")])
    rows = selected(line, rules={"motion": {"max": 4}}, quotas={"width": 2}, **BY_MOTION)
    reasons = ["motion above 4", None, "duplicate", None, "over the quota of width"]
    assert rows["reason"].to_pylist() == reasons
    assert rows["duplicate_of"].to_pylist() == [None, None, "a", None, None]


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "many"])
def test_a_quota_is_a_number_of_clips(most):
    with pytest.raises(ConfigError, match="quotas.width is"):
        Select(quotas={"width": most})


def test_what_is_frequent_among_the_kept_is_drawn_less_often():
    widths = (1, 1, 1, 1, 2, None, 3)
    clips = [{**clip, "width": width} for clip, width in zip(fast(*"abcdefg"), widths, strict=True)]
    settings = {"rules": {"motion": {"min": 2}}, "balance_by": "width", "duplicates": False}
    rows = selected(Line(clips), **settings)
    assert rows.schema.names == [*ROWS.names, "sampling_weight"]
    weights = rows["sampling_weight"].to_pylist()
    # Four clips of one value and one of another; the last is not kept, the one before it has no value.
    mean = (4 * 4**-0.5 + 1) / 5
    assert weights == pytest.approx([0.5 / mean] * 4 + [1 / mean, None, None], abs=1e-5)
    assert "width" in Select(**settings).reads()
    assert "sampling_weight" not in selected(Line(clips), duplicates=False).schema.names
