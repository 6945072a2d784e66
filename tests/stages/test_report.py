"""The report over a small run whose files have names that want to be more than names."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.clips import rules
from hpc_curate.errors import BadInput, MergeRefused
from hpc_curate.records import CLIPS, UNITS, VIDEOS
from hpc_curate.run_folder.accounting import UNIT_STATES, Books
from hpc_curate.stage import Clip
from hpc_curate.stages.report import CLIPS as CLIPS_PAGE
from hpc_curate.stages.report import INDEX, THRESHOLDS, Report
from hpc_curate.stages.shots import SHOT_COUNTS

EVIL = '<script>alert("x")</script>\u202e & "quotes".mp4'
FILTERED = pa.schema(
    [
        *CLIPS,
        ("motion", pa.float32()),
        ("gate_keep", pa.bool_()),
        ("gate_reason", pa.string()),
        ("gate_reasons", pa.list_(pa.string())),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("duplicate_of", pa.string()),
        ("error", pa.string()),
    ]
)
QUESTION = {
    "stage": {
        "gate": {"rules": {"motion": {"min": 0.5}}},
        "select": {
            "rules": {
                "motion": {"min": 1, "max": 30, "min_percentile": 25},
                "codec": {"allowed": ["h264"]},
                "off": None,
            }
        },
    }
}


def clip(number, **columns):
    times = {"start_s": 4.0 * number, "end_s": 4.0 * number + 4, "duration_s": 4.0, "codec": "h264"}
    named = {"clip_id": f"evil_{number}_x", "video_id": "evil", **times, "gate_keep": True, "motion": float(number)}
    reasons = {f"{name}s": [columns[name]] if name in columns else [] for name in ("reason", "gate_reason")}
    return {**named, "state": "kept", **reasons, **columns}


CLIP_ROWS = [
    clip(0, gate_keep=False, gate_reason="motion below 0.5", state="rejected", reason="motion below 0.5"),
    *(clip(number) for number in range(1, 30)),
    clip(30, state="rejected", reason="duplicate", duplicate_of="evil_29_x"),
    clip(31, state="rejected", reason="motion above 30"),
    clip(32, state="rejected", reason="codec not allowed", codec="<b>gif</b>"),
    clip(33, motion=None, state="failed", error="embed: <img src=x onerror=alert(1)>"),
]


def books():
    length = 4.0 * len(CLIP_ROWS)
    counts = {"video_id": "evil", "clips": len(CLIP_ROWS), "clips_s": length}
    counts |= dict.fromkeys(["short_s", "trimmed_s", "long_dropped_s", "transition_s"], 0.0)
    kept = [row["clip_id"] for row in CLIP_ROWS if row["state"] == "kept"]
    frozen = [
        {"unit": 0, "video_id": name, "uri": f"/in/{name}", "name": EVIL, "bytes": 1} for name in ("evil", "torn")
    ]
    scanned = [{"video_id": "evil", "duration_s": length}, {"video_id": "torn", "error": "<b>no</b> video stream"}]
    return Books(
        units=pa.Table.from_pylist(frozen, schema=UNITS),
        unit_states=pa.Table.from_pylist([{"unit": 0, "state": "done"}], schema=UNIT_STATES),
        videos=pa.Table.from_pylist(scanned, schema=VIDEOS),
        shot_counts=pa.Table.from_pylist([counts], schema=SHOT_COUNTS),
        clips=pa.Table.from_pylist(CLIP_ROWS, schema=FILTERED),
        samples=pa.table({"clip_id": kept, "tar": ["train-000000.tar"] * len(kept), "offset": range(len(kept))}),
    )


class Run:
    """Inputs: a finished run with pictures of all clips but one."""

    def __init__(self, folder, whole=None):
        self.folder, self.whole = folder, whole or books()

    def books(self):
        return self.whole

    def question(self):
        return QUESTION

    def has(self, name):
        return name in ("dedup_stats", "edges") or (name == "tars" and self.whole.samples is not None)

    def table(self, name, columns=None):
        if name == "tars":
            return self.whole.samples.append_column("bytes", pa.array([2_000_000] * 29)).select(columns)
        if name == "edges":
            ends = {
                "clip_a": ["evil_29_x", "evil_1_x"],
                "clip_b": ["evil_30_x", "evil_2_x"],
                "method": ["embedding"] * 2,
            }
            return pa.table({**ends, "similarity": pa.array([0.96, 0.94], pa.float32())})
        rows = [
            ("embedding", "rows", None, 33.0),
            ("embedding", "pairs", None, 7.0),
            ("embedding", "recall", 0.95, 0.9931),
        ]
        rows += [("embedding", "threshold", None, 0.95), ("embedding", "histogram", 0.95, 4.0)]
        rows += [("embedding", "histogram", 0.96, 3.0)]
        return pa.Table.from_pylist(
            [dict(zip(("method", "statistic", "at", "value"), row, strict=True)) for row in rows]
        )

    def costs(self):
        counts = {"stage": ["scan"], "units": [1], "rows": [2], "errors": [1]}
        hours = {"hours": [0.5], "cpu_hours": [0.75], "gpu_hours": [1.0]}
        return pa.table({**counts, **hours, "bytes": [12_000_000], "files": [7]})

    def frames(self, ids, count, columns=()):
        for name in ids:
            shade = np.full((1, 90, 160, 3), 40 + int(name.split("_")[1]) * 5, np.uint8)
            bad = name == "evil_33_x"
            yield name, BadInput("no frame of the frame pack") if bad else Clip(name, shade, np.zeros(1))

    def report_folder(self):
        return self.folder


class Outline(HTMLParser):
    """The tags of a page, what is in them, and whether they close in the order in which they opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def pages(tmp_path):
    tables = Report(samples=6, near=3, thumbnail_px=64).run(None, Run(tmp_path / "report"))
    assert tables["funnel"]["clips"].to_pylist()[-1] == 29
    return {name: (tmp_path / "report" / name).read_text() for name in (INDEX, CLIPS_PAGE, THRESHOLDS)}


@pytest.fixture
def page(pages):
    return pages[INDEX]


@pytest.fixture
def clips(pages):
    return pages[CLIPS_PAGE]


@pytest.fixture
def thresholds(pages):
    return pages[THRESHOLDS]


@pytest.mark.parametrize("name", [INDEX, CLIPS_PAGE, THRESHOLDS])
def test_names_and_errors_are_text_and_nothing_else(pages, name):
    outline = Outline(pages[name])
    assert outline.open == []
    assert {tag for tag, _ in outline.tags} & {"script", "iframe", "object", "link", "form"} == set()
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    words = "".join(outline.text)
    if name != THRESHOLDS:  # nothing that failed lies next to a bound
        assert "embed: <img src=x onerror=alert(1)>" in words
    assert '<script>alert("x")</script>\\u202e & "quotes".mp4' in words
    assert ("<b>no</b> video stream" in words) == (name == INDEX)


def test_captions_are_shown_and_who_wrote_them_at_which_request(tmp_path):
    class Captioned(Run):
        def has(self, name):
            return name.startswith("caption") or super().has(name)

        def question(self):
            prompts = {"short": {"text": "Tell\n  me all."}}
            return {"stage": {**QUESTION["stage"], "caption": {"prompts": prompts}}}

    whole = books()
    count = whole.clips.num_rows
    told = {"caption": ["<script>says()</script>"] * count, "caption_model": ["qwen@1"] * count}
    told |= {"caption_input_tokens": [100] * count, "caption_output_tokens": [7] * count}
    clips = whole.clips
    for name, values in told.items():
        clips = clips.append_column(name, pa.array(values))
    Report().run(None, Captioned(tmp_path, dataclasses.replace(whole, clips=clips)))
    outline = Outline((tmp_path / INDEX).read_text() + (tmp_path / CLIPS_PAGE).read_text())
    words = "\n".join(outline.text)
    assert "qwen@1\n29\n2,900\n203\n" in words
    assert "short\n: Tell me all." in words
    assert words.count("<script>says()</script>") >= 6
    assert "script" not in {tag for tag, _ in outline.tags}


@pytest.mark.parametrize("name", [INDEX, CLIPS_PAGE, THRESHOLDS])
def test_a_page_fetches_nothing_and_leads_nowhere_else(pages, name):
    page = pages[name]
    assert Outline(page).open == []
    assert {attributes["href"] for tag, attributes in Outline(page).tags if tag == "a"} == {"", *pages} - {name}
    sources = [attributes["src"] for _, attributes in Outline(page).tags if "src" in attributes]
    assert sources or name == INDEX
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"url\(|https?://|@import", page)


def test_the_first_page_shows_counts_shapes_failures_tars_cost_and_versions(page):
    words = "\n".join(Outline(page).text)
    assert "kept, 85.3 %" in words
    assert "99.31 % at cosine 0.95" in words
    assert "train-000000\n.tar\n29\n58 MB" in words
    assert "<b>no</b> video stream\n" in words
    assert "scan\n1\n2\n1\n0:30:00\n0:45:00\n1:00:00\n12 MB\n7" in words
    assert "\n1\nGPU hours\n" in words
    assert "stage.select\nrules.motion.min=1\nrules.motion.max=30\n" in words
    assert "\nhpc_curate\n0." in words


def test_one_is_not_many(page, clips):
    words = "\n".join([*Outline(page).text, *Outline(clips).text])
    assert "gate, 34 clips" in words
    assert "\n1\nvideo failed\n1\nclip failed\n" in words
    assert "motion above 30: 1 clip\n" in words
    assert "1 clips" not in words


def test_clips_are_shown_by_reason_and_duplicates_beside_the_one_that_was_kept(clips):
    words = "\n".join(Outline(clips).text)
    for heading in ("Kept", "29 clips", "codec not allowed: 1 clip", "Failed"):
        assert f"\n{heading}\n" in words
    assert "\nmotion 31\n" in words
    group = words.partition("Duplicates, group by group")[2].partition("\nRejected\n")[0]
    assert group.index("116.00 to 120.00 s\nkept, for 1 duplicate") < group.index("120.00 to 124.00 s")
    assert "embedding 0.9600" in group
    assert "no picture" in words


class Embedded(Run):
    """The same with vectors: the first half of the clips lies apart from the second, one has none."""

    def has(self, name):
        return name == "embedding" or super().has(name)

    def clips(self, columns, ids):
        numbers = [int(name.split("_")[1]) for name in ids]
        vectors = [None if n == 33 else [float(n < 17), n / 100, 0.0] for n in numbers]
        return pa.table({"clip_id": ids, "embedding": pa.array(vectors, pa.list_(pa.float16(), 3))})


def test_kept_clips_are_shown_by_cluster_and_all_lie_on_a_map(tmp_path):
    whole = books()
    cluster = pa.array([number % 2 for number in range(whole.clips.num_rows)], pa.int32())
    whole = dataclasses.replace(whole, clips=whole.clips.append_column("cluster", cluster))
    Report(clusters=2, per_cluster=3).run(None, Embedded(tmp_path, whole))
    outline = Outline((tmp_path / CLIPS_PAGE).read_text())
    words = "\n".join(outline.text)
    assert "Cluster 1: 15 clips" in words and "Cluster 0: 14 clips" in words
    assert "33 clips of 34, placed by" in words
    assert "hold 100 % of the variance" in words
    drawn = [attributes["d"].count("h0") for tag, attributes in outline.tags if tag == "path"]
    assert sum(drawn) == 2 * 33  # by cluster, and by what became of them
    told = [text for text in outline.text if ": motion above 30" in text]
    assert told and EVIL.replace("\u202e", "\\u202e") in told[0]


def test_a_run_that_goes_on_says_so(tmp_path):
    whole = books()
    pending = whole.clips.set_column(
        whole.clips.column_names.index("state"), "state", pa.nulls(whole.clips.num_rows, pa.string())
    )
    Report().write(Run(tmp_path, dataclasses.replace(whole, clips=pending, samples=None)), tmp_path, final=False)
    words = "\n".join(Outline((tmp_path / INDEX).read_text()).text)
    assert "The run is not over: 32 clips pending." in words


def test_rules_are_counted_and_shown_with_the_clips_next_to_their_bounds(thresholds):
    outline = Outline(thresholds)
    words = "\n".join(outline.text)
    assert "gate\n ≥ 0.5\nselect\n ≥ 1 ≤ 30 without the lowest 25 % of the clips that meet all fixed bounds" in words
    assert "select, 32 clips" in words
    assert "motion above 30\n1\n1\n1\n" in words
    assert "what the gate rejected stays rejected" in words
    assert "<b>gif</b>\n0\n1\n" in words
    titles = [attributes.get("title", "") for tag, attributes in outline.tags if tag == "figure"]
    assert any("124.00 to 128.00 s  31  motion above 30" in title for title in titles)
    assert any("120.00 to 124.00 s  30  duplicate" in title for title in titles)


def test_pairs_on_both_sides_of_a_similarity_are_shown(thresholds):
    words = "\n".join(Outline(thresholds).text)
    assert "Pairs next to 0.95, from which embedding calls them duplicates" in words
    assert words.count("0.9600, duplicates") == words.count("0.9400, not the same") == 2


def test_the_same_run_makes_the_same_pages(tmp_path):
    for name in ("one", "two"):
        Report().run(None, Run(tmp_path / name))
    for page in (INDEX, CLIPS_PAGE, THRESHOLDS):
        assert (tmp_path / "one" / page).read_bytes() == (tmp_path / "two" / page).read_bytes()


def test_a_run_without_gate_select_dedup_and_tars_has_a_report(tmp_path):
    whole = books()
    bare = Books(whole.units, whole.unit_states, whole.videos, whole.shot_counts, whole.clips, None)
    run = Run(tmp_path, bare)
    run.question = lambda: {"stage": {"scan": {}}}
    run.has = lambda name: False
    Report().run(None, run)
    assert "Near-duplicates" not in (tmp_path / INDEX).read_text()
    assert "<svg" not in (tmp_path / CLIPS_PAGE).read_text()


def test_a_run_that_does_not_add_up_has_none(tmp_path):
    whole = books()
    lost = Books(whole.units, whole.unit_states, whole.videos, whole.shot_counts, whole.clips, whole.samples.slice(1))
    with pytest.raises(MergeRefused, match="1 kept clips are in no tar: evil_1_x"):
        Report().run(None, Run(tmp_path, lost))
    assert not (tmp_path / "index.html").exists()


def test_a_report_of_ten_thousand_clips_is_small(tmp_path):
    random = np.random.default_rng(0)
    columns = {f"score_{number}": random.random(10_000) for number in range(16)}
    settings = {name: {"min": 0.02, "max": 0.98} for name in columns}
    ids = [f"evil_{number}_x" for number in range(10_000)]
    spans = {
        "start_s": 4.0 * np.arange(10_000),
        "end_s": 4.0 * np.arange(10_000) + 4,
        "duration_s": np.full(10_000, 4.0),
    }
    clips = pa.table({"clip_id": ids, "video_id": ["evil"] * 10_000, **spans, **columns})
    verdicts = rules.apply(rules.parse(settings, percentiles=True), clips)
    state = np.where(verdicts["keep"].to_numpy(), "kept", "rejected")
    judged = {"state": pa.array(state), "reason": verdicts["reason"], "reasons": verdicts["reasons"]}
    nothing = {name: pa.nulls(10_000, pa.string()) for name in ("duplicate_of", "error")}
    clips = pa.table({**dict(zip(clips.column_names, clips.columns, strict=True)), **judged, **nothing})
    whole = books()
    counts = {"video_id": ["evil"], "clips": [10_000], "clips_s": [40_000.0]}
    counts |= {name: [0.0] for name in ("short_s", "trimmed_s", "long_dropped_s", "transition_s")}
    videos = pa.Table.from_pylist([{"video_id": "evil", "duration_s": 40_000.0}, {"video_id": "torn"}], schema=VIDEOS)
    run = Run(tmp_path, Books(whole.units, whole.unit_states, videos, pa.table(counts), clips, None))
    run.question = lambda: {"stage": {"select": {"rules": settings}}}
    noise = random.integers(0, 256, (1, 360, 640, 3), np.uint8)  # no picture takes more bytes
    run.frames = lambda ids, count: ((name, Clip(name, noise, np.zeros(1))) for name in ids)
    run.has = lambda name: False
    Report().run(None, run)
    pages = [tmp_path / name for name in (INDEX, CLIPS_PAGE, THRESHOLDS)]
    shown = sum(page.read_text().count("<img") for page in pages)
    assert shown > 200
    assert sum(page.stat().st_size for page in pages) < 30e6
