"""Black bars are cropped where many frames agree; dark scenes are left alone."""

from fractions import Fraction

import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.borders import Borders
from hpc_curate.records import Span

WIDTH, HEIGHT = 320, 180
FACTS = Facts(WIDTH, HEIGHT, Fraction(25), Fraction(1, 1000))
WHOLE = {"crop_x": 0, "crop_y": 0, "crop_w": WIDTH, "crop_h": HEIGHT, "border_share": 0.0}
RANDOM = np.random.default_rng(0)


def textured(low=0, high=256):
    return RANDOM.integers(low, high, (HEIGHT, WIDTH)).astype(np.uint8)


def barred(picture, left=0, top=0, right=0, bottom=0):
    """The picture with noise of nearly black outside."""
    result = RANDOM.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)
    inside = (slice(top, HEIGHT - bottom), slice(left, WIDTH - right))
    result[inside] = picture[inside]
    return result


def measured(luma, span=None, facts=FACTS, measure=None):
    measure = measure or Borders()
    luma = np.stack(luma)
    pts = np.arange(len(luma)) * 500
    feeder = measure.start(facts)
    for index in range(len(luma)):
        feeder.feed(Frames(luma[index : index + 1], pts[index : index + 1], pts[index : index + 1] / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    return measure.aggregate(series, span or Span(0, 500 * len(luma)), facts)


def test_a_full_picture_is_left_alone():
    assert measured([textured() for _ in range(10)]) == WHOLE


def test_letterbox_bars_are_cropped():
    columns = measured([barred(textured(), top=22, bottom=22) for _ in range(10)])
    assert columns == {"crop_x": 0, "crop_y": 22, "crop_w": 320, "crop_h": 136, "border_share": round(44 / 180, 4)}


def test_pillarbox_bars_are_cropped_to_even_numbers_inwards():
    columns = measured([barred(textured(), left=41, right=41) for _ in range(10)])
    assert (columns["crop_x"], columns["crop_w"]) == (42, 236)


def test_bars_on_all_sides():
    columns = measured([barred(textured(), 40, 20, 40, 20) for _ in range(10)])
    assert [columns[name] for name in ("crop_x", "crop_y", "crop_w", "crop_h")] == [40, 20, 240, 140]


def test_too_few_frames_crop_nothing():
    assert measured([barred(textured(), top=22, bottom=22) for _ in range(7)]) == WHOLE


def test_a_short_clip_has_the_bars_of_its_video():
    frames = [barred(textured(), top=22, bottom=22) for _ in range(12)]
    assert measured(frames, Span(0, 1000))["crop_h"] == 136


def test_clips_of_one_video_are_cropped_alike():
    frames = [barred(textured(), top=22, bottom=22) for _ in range(20)]
    for frame in frames[:4]:
        frame[22:26] = frame[0]  # the picture is dark at its upper edge
    assert measured(frames, Span(0, 2000)) == measured(frames, Span(2000, 10000))


def test_one_frame_that_fills_the_picture_vetoes():
    frames = [barred(textured(), top=22, bottom=22) for _ in range(12)]
    frames[5] = textured()
    assert measured(frames) == WHOLE
    assert measured(frames, Span(3000, 6000))["crop_h"] == 136


def test_dark_frames_between_lit_ones_say_nothing():
    frames = [barred(textured(), top=22, bottom=22) for _ in range(12)]
    frames[2:6] = [textured(0, 4)] * 4
    assert measured(frames)["crop_h"] == 136


def test_a_black_clip_is_left_alone():
    assert measured([textured(0, 4) for _ in range(12)]) == WHOLE


@pytest.mark.parametrize("seed", range(5))
def test_lamps_in_the_dark_are_no_picture_with_bars(seed):
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(12):
        frame = textured(0, 6)
        for y, x in zip(random.integers(60, 120, 30), random.integers(80, 240, 30), strict=True):
            frame[y : y + 6, x : x + 6] = 200
        frames.append(frame)
    assert measured(frames) == WHOLE


def test_a_black_sky_over_a_horizon_is_left_alone():
    assert measured([barred(textured(), top=90) for _ in range(12)]) == WHOLE


def test_a_subtitle_in_the_bar_is_kept():
    frames = [barred(textured(), top=22, bottom=22) for _ in range(12)]
    for frame in frames[3:9]:
        frame[165:172, 120:200:2] = 230
    columns = measured(frames)
    assert columns["crop_y"] + columns["crop_h"] == HEIGHT


def test_a_thin_line_on_one_side_is_cropped():
    columns = measured([barred(textured(), left=6) for _ in range(12)])
    assert (columns["crop_x"], columns["crop_w"]) == (6, 314)


def test_columns_are_in_display_pixels():
    wide = Facts(640, HEIGHT, Fraction(25), Fraction(1, 1000))  # pixels twice as wide as high
    columns = measured([barred(textured(), left=40, right=40) for _ in range(12)], facts=wide)
    assert (columns["crop_x"], columns["crop_w"]) == (80, 480)


def test_an_odd_size_is_cropped_to_an_even_one():
    odd = Facts(WIDTH + 1, HEIGHT + 1, Fraction(25), Fraction(1, 1000))
    pictures = [RANDOM.integers(0, 256, (HEIGHT + 1, WIDTH + 1)).astype(np.uint8) for _ in range(8)]
    assert measured(pictures, facts=odd) == WHOLE
