"""The content cutter finds what PySceneDetect's ContentDetector finds in the same frames."""

from fractions import Fraction

import numpy as np
import pytest

from hpc_curate.cutters.content import Content, merge_flashes
from hpc_curate.measures import Series

RATES = [Fraction(25), Fraction(24000, 1001), Fraction(10)]
SETTINGS = [{}, {"threshold": 10.0}, {"threshold": 35.0, "min_shot_s": 1.0}, {"min_shot_s": 0.0}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("fps", RATES, ids=str)
def test_the_cuts_are_those_of_the_library(film, scan, library_cuts, fps, settings):
    from scenedetect import ContentDetector

    cutter = Content(**settings)
    total = 0
    for seed in range(3):
        pixels = film(seed)
        detector = ContentDetector(threshold=cutter.threshold, min_scene_len=cutter.min_shot_s)
        wanted = library_cuts(detector, pixels, fps)
        assert cutter.transitions(scan(cutter, pixels, fps)) == [(cut, cut) for cut in wanted]
        total += len(wanted)
    assert total > 1  # or the comparison would say nothing


@pytest.mark.parametrize("seed", range(20))
def test_flashes_are_merged_as_the_library_merges_them(seed):
    common = pytest.importorskip("scenedetect.common")
    from scenedetect.detector import FlashFilter

    random = np.random.default_rng(seed)
    above = (random.random(400) < random.choice([0.02, 0.1, 0.4])).tolist()
    shortest = float(random.choice([0.0, 0.2, 0.6, 1.5]))
    merge = FlashFilter(FlashFilter.Mode.MERGE, shortest)
    wanted = []
    for index, is_above in enumerate(above):
        shown = common.FrameTimecode(common.Timecode(pts=index, time_base=Fraction(1, 20)), Fraction(20))
        wanted += [cut.frame_num for cut in merge.filter(shown, is_above)]
    assert merge_flashes(above, (np.arange(400) / 20).tolist(), shortest) == wanted


def test_the_first_frame_has_no_score(film, scan):
    scores = scan(Content(), film(0), Fraction(25)).values["score"]
    assert scores[0] == 0 and scores.dtype == np.float32 and len(scores) == len(film(0))


def test_another_threshold_reads_the_same_series():
    pts = np.arange(60)
    series = Series(pts, pts / 10, {"score": np.where(pts == 30, 20, 0).astype(np.float32)})
    assert Content().transitions(series) == []
    assert Content(threshold=15.0).transitions(series) == [(30, 30)]
