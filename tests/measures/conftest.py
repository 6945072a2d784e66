"""Small frames of real footage, and what measures make of them."""

import functools

import cv2
import numpy as np
import pytest

from hpc_curate.measures import Frames, Series
from hpc_curate.records import Span


@functools.cache
def _decoded(path, long_side_px, seconds):
    video = pytest.importorskip("hpc_curate.io.video")
    facts = video.probe(path)
    policy = video.Policy(video.Limits(memory_gb=4, cpu_s=100, wall_s=200, file_gb=0.01))
    runs = []
    with video.Decoding(path, facts, [video.small_grid(facts, long_side_px)], policy) as decoding:
        for _, run in decoding:
            runs.append(run)
            if run.times_s[-1] >= seconds:
                break
    pixels, pts, times_s = (np.concatenate([getattr(run, name) for run in runs]) for name in vars(runs[0]))
    wanted = times_s < seconds
    return facts.facts(), Frames(pixels[wanted], pts[wanted], times_s[wanted])


@pytest.fixture
def decoded():
    """`decoded(path, long_side_px=64, seconds=5)`: the facts of a video and the frames of its beginning."""
    return lambda path, long_side_px=64, seconds=5: _decoded(path, long_side_px, seconds)


@pytest.fixture
def whole():
    """`whole(measure, facts, frames)`: the columns of one clip made of all frames, which are fed in several runs."""

    def columns(measure, facts, frames):
        feeder = measure.start(facts)
        for part in np.array_split(np.arange(len(frames.pts)), 5):
            feeder.feed(Frames(frames.pixels[part], frames.pts[part], frames.times_s[part]))
        series = Series(frames.pts, frames.times_s, feeder.finish())
        return measure.aggregate(series, Span(int(frames.pts[0]), int(2 * frames.pts[-1] - frames.pts[-2])), facts)

    return columns


@pytest.fixture(scope="session")
def filmed(footage):
    """`filmed(path)`: small frames of a real picture, 560 x 280 pixels of it seen from the places of a path, [N, 2]."""
    video = cv2.VideoCapture(str(footage / "bbb.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, 70 * 24)
    scene = cv2.resize(video.read()[1], (640, 360), interpolation=cv2.INTER_AREA)

    def views(path):
        pixels = []
        for x, y in path:
            shift = np.array([[1, 0, -40 - x], [0, 1, -40 - y]], float)
            view = cv2.warpAffine(scene, shift, (560, 280), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            pixels.append(cv2.resize(view, (64, 32), interpolation=cv2.INTER_AREA))
        return Frames(np.stack(pixels), np.arange(len(path)), np.arange(len(path)) / 25)

    return views
