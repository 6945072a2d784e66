"""Black bars are cropped where many frames agree; dark scenes are left alone."""

import itertools
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from hpc_curate.io import video
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


def test_of_a_picture_of_one_line_nothing_even_is_left():
    found = measured([np.full((240, 1), 128, np.uint8)] * 10, facts=Facts(1, 240, Fraction(25), Fraction(1, 1000)))
    assert (found["crop_w"], found["crop_h"], found["border_share"]) == (0, 240, 1.0)


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


def speckled(frame, lines):
    """Two dim pixels in each of these lines, as coding leaves them: of a small picture that is more than one in 100."""
    for line in lines:
        frame[line, RANDOM.integers(0, WIDTH, 4)] = 25
    return frame


def test_the_noise_of_coding_beside_an_edge_is_no_picture():
    frames = [speckled(barred(textured(), top=22, bottom=22), range(10, 22)) for _ in range(12)]
    assert measured(frames)["crop_y"] == 22


def test_specks_further_away_than_a_block_are_part_of_the_picture():
    frames = [speckled(barred(textured(), top=40, bottom=40), [12]) for _ in range(12)]
    assert measured(frames) == WHOLE


def test_a_dark_clip_has_the_bars_of_its_video():
    lit = [barred(textured(), top=22, bottom=22) for _ in range(16)]
    dark = [barred(textured(0, 12), top=22, bottom=22) for _ in range(8)]  # less than half of a line is lit
    columns = [measured(lit + dark, Span(8000 * at, 8000 * at + 4000)) for at in (0, 1)]
    assert columns[0] == columns[1] and columns[0]["crop_h"] == 136
    assert measured(dark) == WHOLE


@pytest.fixture
def coded(footage, ffmpeg, tmp_path):
    """`coded(name, filters, crf)`: the crop of each clip of four seconds of a real video, filtered and coded again."""

    def crops(name, filters, crf):
        path = tmp_path / "coded.mp4"
        picture = ["-t", "12", "-i", footage / name, "-an", "-r", "10", "-vf", filters, "-pix_fmt", "yuv420p"]
        coding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-threads", "1", path]
        subprocess.run([ffmpeg, "-v", "error", "-nostdin", "-y", *map(str, picture + coding)], check=True)
        facts = video.probe(path)
        policy = video.Policy(video.Limits(memory_gb=4, cpu_s=100, wall_s=200, file_gb=0.01))
        measure, pts = Borders(), []
        feeder = measure.start(facts.facts())
        with video.Decoding(path, facts, [video.native_grid(facts, 2)], policy) as decoding:
            for _, run in decoding:
                feeder.feed(run)
                pts.append(run.pts)
        pts = np.concatenate(pts)
        series = Series(pts, pts * float(facts.time_base), feeder.finish())
        starts = [*pts[:-4:8].tolist(), int(pts[-1]) + 1]
        clips = [measure.aggregate(series, Span(*ends), facts.facts()) for ends in itertools.pairwise(starts)]
        return {tuple(clip[name] for name in ("crop_x", "crop_y", "crop_w", "crop_h")) for clip in clips}

    return crops


@pytest.mark.parametrize("name", ["bikes.mp4", "face.mp4", "city.mpg"])
@pytest.mark.parametrize("size", [(176, 144), (320, 240)])
def test_bars_around_real_pictures_are_found_in_every_clip_however_small_and_badly_coded(coded, name, size):
    width, height = size
    inside = int(width / 2.35) // 4 * 4  # its edges run through blocks of the codec
    bar = (height - inside) // 2
    filters = f"scale={width}:{inside}:force_original_aspect_ratio=increase,crop={width}:{inside},setsar=1"
    found = coded(name, f"{filters},pad={width}:{height}:0:{bar}", 38)
    for x, y, w, h in found:
        assert (x, w) == (0, width)
        assert abs(y - bar) <= 2 and abs(y + h - bar - inside) <= 2


def test_a_small_film_with_bars_has_them_in_every_clip(coded):
    found = coded("demo.mp4", "null", 30)
    assert all(x == 0 and w == 176 and abs(y - 22) <= 2 and abs(h - 98) <= 2 for x, y, w, h in found)


@pytest.mark.parametrize("name", ["bikes.mp4", "face.mp4", "city.mpg"])
@pytest.mark.parametrize("gain", [0.15, 0.05])
def test_real_pictures_of_dark_scenes_have_no_bars(coded, name, gain):
    found = coded(name, f"scale=320:180,setsar=1,lutyuv=y=16+(val-16)*{gain}", 30)
    assert found == {(0, 0, 320, 180)}
