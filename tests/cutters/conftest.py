"""Small made-up films, and what PySceneDetect itself finds in them."""

import functools
from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames, Series


def picture(random):
    """A smooth random colour picture, larger than a small frame."""
    noise = random.integers(0, 256, (8, 14, 3), np.uint8)
    return cv2.resize(noise, (160, 90), interpolation=cv2.INTER_CUBIC)


def shot(random, count):
    """A pan at a random speed, with a flash or flicker now and then: uint8 [count, 36, 64, 3]."""
    scene, speed = picture(random), random.choice([0, 0.2, 1, 3])
    frames = []
    for index in range(count):
        x = int(index * speed) % 90
        frame = scene[20:56, x : x + 64].astype(np.int16)
        if random.random() < 0.03:
            frame = frame + random.integers(30, 120)
        frames.append(np.clip(frame + random.integers(-2, 3), 0, 255).astype(np.uint8))
    return np.stack(frames)


@functools.cache
def _film(seed):
    random = np.random.default_rng(seed)
    frames = shot(random, 30)
    while len(frames) < 400:
        following = shot(random, int(random.integers(2, 60)))
        overlap = min(len(following), 8) if random.random() < 0.2 else 0
        if overlap:
            weight = np.linspace(0, 1, overlap)[:, None, None, None]
            mixed = frames[-overlap:] * (1 - weight) + following[:overlap] * weight
            frames = np.concatenate([frames[:-overlap], mixed.astype(np.uint8), following[overlap:]])
        else:
            frames = np.concatenate([frames, following])
    frames.flags.writeable = False
    return frames


@pytest.fixture
def film():
    """`film(seed)`: about 400 frames in shots of 2 to 60 frames, some joined by a dissolve."""
    return _film


@pytest.fixture
def scan():
    """`scan(cutter, pixels, fps)`: the stored series, fed run by run."""

    def run(cutter, pixels, fps):
        pts = np.arange(len(pixels))
        times_s = np.round(pts / float(fps), 6)
        feeder = cutter.start(Facts(1280, 720, fps, 1 / fps))
        for part in np.array_split(np.arange(len(pixels)), 7):
            feeder.feed(Frames(pixels[part], pts[part], times_s[part]))
        return Series(pts, times_s, feeder.finish())

    return run


@pytest.fixture
def library_cuts():
    """`library_cuts(detector, pixels, fps)`: frame numbers of the cuts that PySceneDetect's SceneManager finds."""
    common = pytest.importorskip("scenedetect.common")
    from scenedetect import SceneManager, VideoStream

    class Shown(VideoStream):
        """Frames in memory, with the exact times that its own backends report."""

        path = name = "frames"
        is_seekable = False
        duration = None
        aspect_ratio = 1.0

        def __init__(self, pixels, fps):
            self.pixels, self.fps, self.read_so_far = pixels, fps, 0

        frame_rate = property(lambda self: self.fps)
        frame_size = property(lambda self: (self.pixels.shape[2], self.pixels.shape[1]))
        frame_number = property(lambda self: self.read_so_far)
        position_ms = property(lambda self: self.position.seconds * 1000)

        @property
        def position(self):
            shown = common.Timecode(pts=max(self.read_so_far - 1, 0), time_base=1 / self.fps)
            return common.FrameTimecode(shown, self.fps)

        def read(self, decode=True):
            if self.read_so_far == len(self.pixels):
                return False
            self.read_so_far += 1
            return np.ascontiguousarray(self.pixels[self.read_so_far - 1][..., ::-1])

        def reset(self):
            self.read_so_far = 0

        def seek(self, target):
            raise NotImplementedError

    def cuts(detector, pixels, fps):
        manager = SceneManager()
        manager.auto_downscale = False
        manager.add_detector(detector)
        manager.detect_scenes(Shown(pixels, Fraction(fps)))
        return [start.frame_num for start, _ in manager.get_scene_list()][1:]

    return cuts
