"""Logos composed onto real footage are found there, and nothing is found on the same footage without."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.clips.boxes import overlap_shares
from hpc_curate.measures import Facts, Frames
from hpc_curate.measures.watermark import Watermark

FACTS = Facts(640, 360, Fraction(25), Fraction(1, 1000))
PLACES = {"top right": (500, 60), "bottom left": (50, 320)}


def taken(footage, name):
    """Frames of a clip, one a second: uint8 [N, 360, 640]."""
    video = cv2.VideoCapture(str(footage / name))
    step = round(video.get(cv2.CAP_PROP_FPS))
    frames = []
    for index in range(int(video.get(cv2.CAP_PROP_FRAME_COUNT))):
        if not video.grab():  # seeking would be faster, and wrong by some frames
            break
        if index % step == 0:
            picture = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2GRAY)
            frames.append(cv2.resize(picture, (640, 360), interpolation=cv2.INTER_AREA))
    return np.stack(frames)


@pytest.fixture(scope="session")
def clips(footage):
    return {name: taken(footage, name) for name in ("bikes.mp4", "city.mpg", "walking.mp4", "face.mp4", "demo.mp4")}


def marked(frames, x, y, opacity=0.5):
    """A ring and a name, as a channel shows them."""
    mask = np.zeros(frames.shape[1:], np.uint8)
    cv2.putText(mask, "NEWS 5", (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2, cv2.LINE_AA)
    cv2.circle(mask, (x - 14, y - 7), 9, 255, 3, cv2.LINE_AA)
    share = opacity * mask / 255
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([columns[0] / 640, rows[0] / 360, columns[-1] / 640, rows[-1] / 360])
    coded = [
        cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1] for frame in frames * (1 - share) + 255 * share
    ]
    return np.stack([cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) for data in coded]), box


def as_frames(pixels):
    pts = 1000 * np.arange(len(pixels))
    return Frames(pixels, pts, pts / 1000)


# At the bottom left of the other two, the ground is flat and still, or as busy as the logo.
@pytest.mark.parametrize(
    ("name", "place"),
    [("bikes.mp4", "top right"), ("bikes.mp4", "bottom left"), ("city.mpg", "top right"), ("face.mp4", "top right")],
)
def test_a_logo_on_footage_is_found_where_it_is(name, place, clips, whole):
    pixels, box = marked(clips[name], *PLACES[place])
    columns = whole(Watermark(), FACTS, as_frames(pixels))
    [found] = columns["watermark_boxes"]
    shared, _, together = overlap_shares(box[None], np.array([found]))
    assert (shared.prod() / together.prod()) > 0.5
    assert columns["watermark_area"] == pytest.approx((box[2] - box[0]) * (box[3] - box[1]), rel=0.6)


def test_the_logo_of_a_real_recording_is_found(clips, whole):
    """It stands at the right, above the lower bar of the letterbox."""
    [box] = whole(Watermark(), FACTS, as_frames(clips["demo.mp4"]))["watermark_boxes"]
    left, top, right, bottom = box
    assert 0.8 < left < right < 1 and 0.6 < top < bottom < 0.85


@pytest.mark.parametrize("name", ["bikes.mp4", "city.mpg", "face.mp4"])
def test_the_same_footage_without_has_none(name, clips, whole):
    assert whole(Watermark(), FACTS, as_frames(clips[name])) == {"watermark_area": 0.0, "watermark_boxes": []}


def test_in_a_scene_that_stands_still_nothing_can_be_told(clips, whole):
    unknown = {"watermark_area": None, "watermark_boxes": None}
    assert whole(Watermark(), FACTS, as_frames(clips["walking.mp4"])) == unknown
    assert whole(Watermark(), FACTS, as_frames(marked(clips["walking.mp4"], *PLACES["top right"])[0])) == unknown
    assert whole(Watermark(), FACTS, as_frames(clips["bikes.mp4"][:5])) == unknown


def test_what_the_camera_follows_in_the_middle_is_no_logo(clips, whole):
    pixels, _ = marked(clips["bikes.mp4"], 290, 180)
    assert whole(Watermark(), FACTS, as_frames(pixels))["watermark_boxes"] == []


def test_a_long_video_is_looked_at_throughout(clips, whole):
    """The logo is on its first third only, and 300 frames are more than are kept."""
    pixels = np.tile(clips["bikes.mp4"], (30, 1, 1))
    pixels[:100] = np.tile(marked(clips["bikes.mp4"], *PLACES["top right"])[0], (10, 1, 1))
    assert whole(Watermark(), FACTS, as_frames(pixels))["watermark_boxes"] == []
    assert len(whole(Watermark(), FACTS, as_frames(pixels[:150]))["watermark_boxes"]) == 1


def test_a_strip_of_a_picture_has_none():
    """Made small it would have no line left."""
    facts = Facts(2000, 2, Fraction(25), Fraction(1, 1000))
    feeder = Watermark().start(facts)
    feeder.feed(as_frames(np.random.default_rng(0).integers(0, 256, (8, 2, 2000)).astype(np.uint8)))
    assert not (feeder.finish()["boxes"] > 0).any()
