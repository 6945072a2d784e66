"""The yardstick itself: what tools/bench_cuts.py counts as found, missed and false."""

import json

import bench_cuts
import pytest

LABELS = {
    "hard_cuts": [100, 200, 300],
    "gradual": [{"type": "dissolve", "range": [400, 420]}, {"type": "fade", "range": [600, 610]}],
    "ignore": [[500, 505]],
}


@pytest.mark.parametrize(
    ("transitions", "counts"),
    [
        ([(100, 100), (200, 200), (300, 300)], (3, 0, 0, 0, 2, 0)),
        ([(101, 101), (199, 199), (302, 302)], (2, 1, 1, 0, 2, 0)),  # the tolerance is one frame
        ([(100, 100), (101, 101)], (1, 2, 1, 0, 2, 0)),  # a transition finds one cut, a cut is found once
        ([(98, 105)], (1, 2, 0, 0, 2, 0)),  # a gradual one that holds the cut
        ([(410, 410), (415, 418)], (0, 3, 0, 1, 2, 0)),  # two inside one dissolve: found once, none false
        ([(398, 398), (502, 502)], (0, 3, 0, 1, 2, 0)),  # labels of gradual ones are exact to two frames
        ([(450, 450)], (0, 3, 1, 0, 2, 0)),
        ([(450, 460)], (0, 3, 0, 0, 2, 1)),
        ([], (0, 3, 0, 0, 2, 0)),
    ],
)
def test_what_is_found_missed_and_false(transitions, counts):
    found = bench_cuts.score(transitions, LABELS, tolerance=1)
    assert (
        found.found,
        found.missed,
        found.false,
        found.gradual_found,
        found.gradual,
        found.gradual_false,
    ) == counts


def test_frames_of_gradual_transitions_are_covered_by_ranges():
    found = bench_cuts.score([(396, 411), (605, 606), (600, 600)], LABELS, tolerance=1)
    assert (found.gradual_frames, found.covered_frames) == (21 + 11, 11 + 1)


def test_alarms_are_counted_by_what_raised_them():
    labels = {**LABELS, "distractors": [{"type": "flash", "range": [50, 52]}, {"type": "pan", "range": [150, 160]}]}
    found = bench_cuts.score([(49, 49), (53, 53), (100, 100), (170, 175)], labels, tolerance=1)
    assert (found.flash_alarms, found.flashes, found.pan_alarms, found.pans) == (1, 1, 0, 1)
    assert (found.false, found.gradual_false) == (2, 1)


def test_scores_of_clips_add_up():
    total = bench_cuts.Score(found=8, missed=2) + bench_cuts.Score(found=1, false=1, gradual=3)
    assert total == bench_cuts.Score(found=9, missed=2, false=1, gradual=3)
    assert "0.900" in str(total) and "0.818" in str(total)


def test_every_clip_of_the_benchmark_has_labels():
    labels = json.loads(bench_cuts.LABELS.read_text())
    assert all(any(key.endswith(ending) for key in labels) for ending in bench_cuts.CLIPS.values())


def test_the_default_finds_what_an_eye_found(footage):
    from hpc_curate.clips.stitch import transitions
    from hpc_curate.stages.shots import Shots

    clips = {path: labels for path, labels in bench_cuts.labelled(footage).items() if path.name != "bbb.mp4"}
    cutters = bench_cuts.usable(["adaptive", "gradual"])
    total = bench_cuts.Score()
    for path, labels in clips.items():
        series, _ = bench_cuts.scanned(path, cutters, 64)
        total += bench_cuts.score(transitions(cutters, series, Shots.stitch_below), labels, tolerance=1)
    assert (total.found, total.missed, total.false, total.gradual_false) == (6, 0, 0, 0)
