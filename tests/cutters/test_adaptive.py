"""The adaptive cutter finds what PySceneDetect's AdaptiveDetector finds in the same frames."""

from fractions import Fraction

import numpy as np
import pytest

from hpc_curate.cutters.adaptive import Adaptive
from hpc_curate.measures import Series

RATES = [Fraction(25), Fraction(24000, 1001), Fraction(10)]
SETTINGS = [{}, {"threshold": 1.5, "window_frames": 3, "min_content": 5.0}, {"min_shot_s": 2.0}, {"min_shot_s": 0.0}]


def scored(scores, fps=10):
    pts = np.arange(len(scores))
    return Series(pts, pts / fps, {"score": np.array(scores, np.float32)})


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("fps", RATES, ids=str)
def test_the_cuts_are_those_of_the_library(film, scan, library_cuts, fps, settings):
    from scenedetect import AdaptiveDetector

    cutter = Adaptive(**settings)
    total = 0
    for seed in range(3):
        pixels = film(seed)
        detector = AdaptiveDetector(
            adaptive_threshold=cutter.threshold,
            window_width=cutter.window_frames,
            min_content_val=cutter.min_content,
            min_scene_len=cutter.min_shot_s,
        )
        wanted = library_cuts(detector, pixels, fps)
        assert cutter.transitions(scan(cutter, pixels, fps)) == [(cut, cut) for cut in wanted]
        total += len(wanted)
    assert total > 1  # or the comparison would say nothing


def test_the_weights_are_those_of_the_library(film, scan, library_cuts):
    from scenedetect import AdaptiveDetector, ContentDetector

    weights = (0.0, 0.5, 1.0, 0.2)
    cutter = Adaptive(component_weights=weights)
    detector = AdaptiveDetector(weights=ContentDetector.Components(*weights), min_scene_len=0.6)
    wanted = library_cuts(detector, film(5), Fraction(25))
    assert [start for _, start in cutter.transitions(scan(cutter, film(5), Fraction(25)))] == wanted != []


def test_a_peak_over_its_neighbours_is_a_cut():
    assert Adaptive().transitions(scored([0] * 10 + [40] + [2] * 10)) == [(10, 10)]


def test_a_fast_pan_is_not():
    assert Adaptive().transitions(scored([0] * 10 + [40] * 10 + [0] * 10)) == []


def test_small_changes_of_a_still_picture_are_not():
    assert Adaptive().transitions(scored([0] * 10 + [14] + [0] * 10)) == []


def test_a_second_cut_too_soon_is_ignored():
    series = scored([0] * 10 + [40, 0, 0, 40] + [0] * 6)
    assert Adaptive(min_shot_s=0.6).transitions(series) == [(10, 10)]
    assert Adaptive(min_shot_s=0.3).transitions(series) == [(10, 10), (13, 13)]


@pytest.mark.parametrize("count", range(6))
def test_a_video_shorter_than_the_window_has_no_cut(count):
    assert Adaptive().transitions(scored([90] * count)) == []


def test_thresholds_do_not_change_the_series():
    assert Adaptive.series_settings == ("component_weights",)


def test_the_cuts_of_a_street_scene_are_those_an_eye_and_the_library_found(footage, scan, library_cuts):
    from scenedetect import AdaptiveDetector

    from hpc_curate.io import child, video

    facts = video.probe(footage / "bikes.mp4")
    policy = video.Policy(child.Limits(memory_gb=4, cpu_s=60, wall_s=120, file_gb=0.1))
    with video.Decoding(footage / "bikes.mp4", facts, [video.small_grid(facts, 64)], policy) as decoding:
        pixels = np.concatenate([frames.pixels for _, frames in decoding])
    cuts = [start for _, start in Adaptive().transitions(scan(Adaptive(), pixels, facts.fps))]
    assert cuts == library_cuts(AdaptiveDetector(min_scene_len=0.6), pixels, facts.fps) == [30, 76, 137, 187, 242]
