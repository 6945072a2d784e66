"""Text: areas, counts and what stays in place, with a reader that has learned its pictures by heart."""

import numpy as np
import pyarrow as pa
import pytest

from hpc_curate.models.ppocr import Line
from hpc_curate.stage import Clip, Resources
from hpc_curate.stages.text import Text

WIDTH, HEIGHT = 200, 100


def line(*box, text="news", score=0.9):
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    return Line(corners, text, score)


def scored(*frames, **settings):
    """The columns of a clip with these lines in its frames."""
    pixels = np.zeros((len(frames), HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(frames))
    clip = Clip("clip", pixels, np.arange(len(frames), dtype=float))
    stage = Text(**settings)
    [row] = stage.score(lambda picture: frames[picture[0, 0, 0]], [clip])
    pa.Table.from_pylist([{"clip_id": "clip", **row}], schema=stage.writes()["rows"])
    return row


def test_areas_are_shares_of_the_picture_and_overlaps_count_once():
    row = scored([line(0, 0, 40, 10), line(20, 0, 60, 10)], [])
    assert (row["text_area"], row["text_area_max"], row["text_count"]) == (0.015, 0.03, 1.0)


def test_a_picture_without_text_has_none():
    row = scored([], [])
    assert row == {
        "text_area": 0.0,
        "text_area_max": 0.0,
        "text_overlay_area": 0.0,
        "text_count": 0.0,
        "text_overlay_boxes": [],
    }


@pytest.mark.parametrize(
    "doubtful", [line(0, 0, 200, 100, score=0.6), line(0, 0, 200, 100, text="一"), line(0, 0, 200, 100, text="- .")]
)
def test_what_cannot_be_read_is_no_text(doubtful):
    assert scored([doubtful])["text_area_max"] == 0


def test_a_line_that_stays_is_an_overlay_and_one_that_moves_is_not():
    staying = [line(10, 80, 60, 90)]
    moving = [[line(10, 10 * index, 60, 10 * index + 8)] for index in range(4)]
    row = scored(*[staying + other for other in moving])
    assert row["text_overlay_boxes"] == [[0.05, 0.8, 0.3, 0.9]]
    assert row["text_overlay_area"] == 0.025


def test_subtitles_that_change_are_in_one_place():
    row = scored([line(60, 85, 140, 95)], [line(80, 85, 120, 95)], [line(50, 86, 150, 95)], [])
    assert row["text_overlay_boxes"] == [[0.25, 0.85, 0.75, 0.95]]


def test_a_title_in_one_frame_of_four_is_no_overlay_and_one_in_half_of_them_is():
    title = [line(10, 10, 60, 20)]
    assert scored(title, [], [], [])["text_overlay_boxes"] == []
    assert scored(title, title, [], [])["text_overlay_boxes"] == [[0.05, 0.1, 0.3, 0.2]]


def test_two_lines_in_one_frame_are_no_company_for_each_other():
    assert scored([line(10, 10, 60, 20), line(12, 10, 60, 20)], [], [])["text_overlay_boxes"] == []


def test_the_transcript_names_each_line_once():
    row = scored(
        [line(0, 0, 9, 9, text="one"), line(0, 20, 9, 29, text="two")], [line(0, 0, 9, 9, text="one")], transcript=True
    )
    assert row["text"] == ["one", "two"]


def test_subtitles_on_real_footage_are_found_in_their_place(footage):
    pytest.importorskip("rapidocr")
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoCapture(str(footage / "bikes.mp4"))
    frames = []
    for text in ("WHERE ARE YOU GOING", "TO THE STATION", "", "THEN TAKE THE OTHER ROAD"):
        for _ in range(20):
            picture = video.read()[1]
        across = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2)[0][0]
        cv2.putText(picture, text, (320 - across // 2, 255), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255,) * 3, 2, cv2.LINE_AA)
        frames.append(picture[..., ::-1])
    stage = Text(transcript=True)
    [row] = stage.score(stage.load(Resources(cpus=1)), [Clip("clip", np.stack(frames), np.arange(4.0))])
    assert [line.replace(" ", "") for line in row["text"]] == [
        "WHEREAREYOUGOING",
        "TOTHESTATION",
        "THENTAKETHEOTHERROAD",
    ]
    [[left, top, right, bottom]] = row["text_overlay_boxes"]
    assert left < 0.35 and right > 0.65 and 0.82 < top < 0.9 and 0.92 < bottom < 1
    assert row["text_area"] < row["text_overlay_area"] < 0.15
