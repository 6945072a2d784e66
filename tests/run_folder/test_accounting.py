"""Accounts over a run of six videos, every one of which ends otherwise."""

import dataclasses

import pyarrow as pa
import pytest

from hpc_curate.errors import MergeRefused
from hpc_curate.records import CLIPS, UNITS, VIDEOS
from hpc_curate.run_folder import accounting
from hpc_curate.run_folder.accounting import UNIT_STATES, Books
from hpc_curate.stages.shots import SHOT_COUNTS

FILTERED = [
    ("gate_keep", pa.bool_()),
    ("gate_reason", pa.string()),
    ("motion", pa.float32()),
    ("state", pa.string()),
    ("reason", pa.string()),
    ("duplicate_of", pa.string()),
    ("error", pa.string()),
]


def clip(clip_id, seconds, **columns):
    video, start, _ = clip_id.split("_")
    times = {"start_s": float(start), "end_s": int(start) + seconds, "duration_s": float(seconds)}
    return {"clip_id": clip_id, "video_id": video, **times, "gate_keep": True, **columns}


def rejected(reason, **columns):
    return {"state": "rejected", "reason": reason, **columns}


def frozen(unit, name):
    return {"unit": unit, "video_id": name, "uri": f"/in/{name}.mp4", "name": f"{name}.mp4", "bytes": 10}


def cut(video, clips, clips_s, **left):
    nothing = {"short_s": 0.0, "trimmed_s": 0.0, "long_dropped_s": 0.0, "transition_s": 0.0}
    return {"video_id": video, "clips": clips, "clips_s": clips_s, **nothing, **left}


def scanned(video, seconds, error=None):
    return {"video_id": video, "duration_s": seconds, "codec": "h264", "error": error}


CLIP_ROWS = [
    clip("film_0_4", 4, state="kept", motion=1.0),
    clip("film_4_8", 4, **rejected("motion below 0.1"), motion=0.0),
    clip("film_8_12", 4, **rejected("duplicate", duplicate_of="film_0_4")),
    clip("film_12_16", 4, gate_keep=False, gate_reason="fps below 10"),
    clip("film_16_20", 4, state="failed", error="embed: no frame"),
    clip("film_20_24", 4, state="kept", error="cut: 3 frames are missing"),
    clip("still_0_5", 5, **rejected("motion below 0.1")),
    clip("still_5_9", 4, **rejected("motion below 0.1")),
    clip("still_9_13", 4, **rejected("fps below 16")),
    clip("late_0_6", 6, gate_keep=True),
]


def books(**changes):
    """film and still are judged, torn cannot be read, brief is too short, late waits, lost is in a failed unit."""
    names = ["film", "still", "torn", "brief", "late"]
    clips = pa.Table.from_pylist(CLIP_ROWS, schema=pa.schema([*CLIPS, *FILTERED]))
    videos = [scanned("film", 25.0), scanned("still", 13.0), scanned("torn", None, "no video stream")]
    videos += [scanned("brief", 1.5), scanned("late", 6.0)]
    counts = [cut("film", 6, 24.0, short_s=0.75, transition_s=0.25), cut("still", 3, 13.0)]
    counts += [cut("brief", 0, 0.0, short_s=1.5), cut("late", 1, 6.0)]
    states = [(0, "done", None), (1, "failed", "scan: out of memory"), (2, "pending", None)]
    rows = [frozen(0, name) for name in names] + [frozen(1, "lost"), frozen(2, "queued")]
    whole = Books(
        units=pa.Table.from_pylist(rows, schema=UNITS),
        unit_states=pa.Table.from_pylist([dict(zip(UNIT_STATES.names, s, strict=True)) for s in states], UNIT_STATES),
        videos=pa.Table.from_pylist(videos, schema=VIDEOS),
        shot_counts=pa.Table.from_pylist(counts, schema=SHOT_COUNTS),
        clips=clips,
        samples=pa.table({"clip_id": ["film_0_4"], "tar": ["train-000000.tar"], "offset": [512]}),
    )
    return dataclasses.replace(whole, **changes)


def by(rows, key, *columns):
    return {row[key]: tuple(row[column] for column in columns) for row in rows.to_pylist()}


def test_every_clip_ends_in_one_state():
    assert by(accounting.clip_rows(books()), "clip_id", "state", "reason", "error") == {
        "film_0_4": ("kept", None, None),
        "film_4_8": ("rejected", "motion below 0.1", None),
        "film_8_12": ("rejected", "duplicate", None),
        "film_12_16": ("rejected", "fps below 10", None),
        "film_16_20": ("failed", None, "embed: no frame"),
        "film_20_24": ("failed", None, "cut: 3 frames are missing"),
        "still_0_5": ("rejected", "motion below 0.1", None),
        "still_5_9": ("rejected", "motion below 0.1", None),
        "still_9_13": ("rejected", "fps below 16", None),
        "late_0_6": ("pending", None, None),
    }


def test_a_clip_row_says_where_the_clip_comes_from_and_where_it_went():
    rows = accounting.clip_rows(books())
    assert rows.column_names[:5] == ["clip_id", "uri", "name", "start_s", "end_s"]
    assert rows.column_names[-5:] == ["state", "reason", "error", "tar", "offset"]
    assert {"motion", "gate_reason", "duplicate_of", "codec"} < set(rows.column_names)
    first, second, *_ = rows.to_pylist()
    assert (first["uri"], first["name"], first["tar"], first["offset"]) == (
        "/in/film.mp4",
        "film.mp4",
        "train-000000.tar",
        512,
    )
    assert (second["tar"], second["offset"]) == (None, None)


def test_every_video_ends_in_one_state():
    rows = accounting.video_rows(books(), accounting.clip_rows(books()))
    assert by(rows, "video_id", "state", "reason", "error", "clips", "kept") == {
        "film": ("kept", None, None, 6, 1),
        "still": ("rejected", "motion below 0.1", None, 3, 0),
        "torn": ("failed", None, "no video stream", 0, 0),
        "brief": ("rejected", "no span reaches stage.shots.min_duration_s", None, 0, 0),
        "late": ("pending", None, None, 1, 0),
        "lost": ("failed", None, "scan: out of memory", 0, 0),
        "queued": ("pending", None, None, 0, 0),
    }
    assert {"duration_s", "codec", "uri", "bytes"} < set(rows.column_names)


def test_the_funnel_counts_videos_clips_and_hours_by_reason():
    rows = accounting.funnel(books()).to_pylist()
    found = {(row["step"], row["reason"]): (row["videos"], row["clips"]) for row in rows}
    assert found == {
        ("videos in", None): (7, None),
        ("videos failed", None): (2, None),
        ("videos failed", "no video stream"): (1, None),
        ("videos failed", "scan: out of memory"): (1, None),
        ("videos pending", None): (1, None),
        ("videos without a clip", None): (1, None),
        ("in no clip", None): (None, None),
        ("in no clip", "spans below stage.shots.min_duration_s"): (None, None),
        ("in no clip", "transitions"): (None, None),
        ("clips", None): (3, 10),
        ("rejected by gate", None): (1, 1),
        ("rejected by gate", "fps below 10"): (1, 1),
        ("clips failed", None): (1, 2),
        ("clips failed", "cut: 3 frames are missing"): (1, 1),
        ("clips failed", "embed: no frame"): (1, 1),
        ("rejected by select", None): (2, 4),
        ("rejected by select", "motion below 0.1"): (2, 3),
        ("rejected by select", "fps below 16"): (1, 1),
        ("duplicates", None): (1, 1),
        ("clips pending", None): (1, 1),
        ("kept", None): (1, 1),
        ("in tars", None): (1, 1),
    }
    hours = {(row["step"], row["reason"]): row["hours"] for row in rows}
    assert hours["in no clip", None] == pytest.approx(2.5 / 3600, abs=1e-6)
    assert hours["clips", None] == pytest.approx(43 / 3600, abs=1e-6)
    assert hours["videos failed", None] is None
    assert hours["videos in", None] == pytest.approx(45.5 / 3600, abs=1e-6)


def test_the_steps_between_two_totals_lose_their_difference():
    rows = accounting.funnel(books()).to_pylist()
    totals = [row for row in rows if row["reason"] is None]
    videos = {row["step"]: row["videos"] for row in totals}
    clips = {row["step"]: row["clips"] for row in totals}
    lost = [step for step in videos if step.startswith("videos ") and step != "videos in"]
    assert videos["videos in"] - sum(videos[step] for step in lost) == videos["clips"]
    lost = ["rejected by gate", "clips failed", "rejected by select", "duplicates", "clips pending"]
    assert clips["clips"] - sum(clips[step] for step in lost) == clips["kept"]
    for step in ("rejected by gate", "clips failed", "rejected by select"):
        assert sum(row["clips"] for row in rows if row["step"] == step and row["reason"]) == clips[step]


def test_a_run_that_has_only_begun_is_all_pending():
    begun = books(
        videos=VIDEOS.empty_table(),
        shot_counts=SHOT_COUNTS.empty_table(),
        clips=CLIPS.empty_table(),
        samples=None,
        unit_states=pa.table(
            [pa.array([0, 1, 2], pa.int32()), ["pending"] * 3, pa.nulls(3, pa.string())], schema=UNIT_STATES
        ),
    )
    rows = {row["step"]: row for row in accounting.funnel(begun).to_pylist() if row["reason"] is None}
    assert rows["videos pending"]["videos"] == rows["videos in"]["videos"] == 7
    assert rows["kept"]["clips"] == rows["clips"]["clips"] == 0


def finished():
    """The same run with every unit done, every clip judged and no clip failed in cut."""
    rows = [{**row} for row in CLIP_ROWS]
    rows[5] |= {"state": "rejected", "error": None, "reason": "fps below 16"}
    rows[9] |= {"state": "rejected", "reason": "fps below 16"}
    return books(clips=pa.Table.from_pylist(rows, schema=pa.schema([*CLIPS, *FILTERED])))


def test_a_finished_run_adds_up():
    assert accounting.funnel(finished(), final=True)["clips"].to_pylist()[-1] == 1


def without(table, row):
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def doubled(table, row):
    return pa.concat_tables([table, table.slice(row, 1)])


def longer(table):
    return table.set_column(
        table.column_names.index("duration_s"), "duration_s", pa.array([25.1, 13.0, None, 1.5, 6.0])
    )


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("clips", lambda t: without(t, 1), "1 videos have lost or gained clips: film"),
        ("clips", lambda t: doubled(t, 1), "1 clips are there twice: film_4_8"),
        ("units", lambda t: without(t, 1), "3 clips are of videos that were never frozen: still"),
        ("units", lambda t: doubled(t, 2), "1 videos are in two units: torn"),
        ("videos", lambda t: without(t, 3), "1 videos of finished units are not in scan's rows: brief"),
        ("videos", lambda t: doubled(t, 3), "1 videos were scanned twice: brief"),
        ("videos", longer, "1 videos have seconds in no account: film"),
        ("unit_states", lambda t: without(t, 2), "1 videos are in units without a state: 2"),
        ("samples", lambda t: doubled(t, 0), "1 clips are in the tars twice: film_0_4"),
        ("samples", lambda t: without(t, 0), "1 kept clips are in no tar: film_0_4"),
    ],
)
def test_what_does_not_add_up_is_named(table, change, message):
    whole = finished()
    with pytest.raises(MergeRefused, match=message):
        accounting.funnel(dataclasses.replace(whole, **{table: change(getattr(whole, table))}), final=True)


def test_a_sample_of_a_clip_that_was_not_kept_is_refused():
    samples = pa.table({"clip_id": ["film_0_4", "still_0_5"], "tar": ["a.tar", "a.tar"], "offset": [0, 512]})
    with pytest.raises(MergeRefused, match="1 clips are in a tar and were not kept: still_0_5"):
        accounting.funnel(books(samples=samples))


def test_an_unfinished_run_is_not_taken_for_a_finished_one():
    with pytest.raises(MergeRefused, match="1 clips were never judged: late_0_6"):
        accounting.funnel(books(), final=True)


def test_without_gate_and_select_readable_clips_are_pending():
    clips = books().clips.drop_columns([name for name, _ in FILTERED])
    assert set(accounting.clip_rows(books(clips=clips, samples=None))["state"].to_pylist()) == {"pending"}
