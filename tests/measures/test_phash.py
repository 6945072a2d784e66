"""The hash survives what a copy goes through, and tells pictures apart."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.measures import Facts, Frames, Series
from hpc_curate.measures.phash import PerceptualHash, hash_words, join_words
from hpc_curate.records import Span

FACTS = Facts(1280, 720, Fraction(10), Fraction(1, 1000))


def picture(seed):
    """A smooth random colour picture, as footage is."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(noise, (320, 180), interpolation=cv2.INTER_CUBIC)


def small(image):
    height, width = image.shape[:2]
    scale = 64 / max(height, width)
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def hashed(*images):
    """uint64 of each image, as scan and shots make it."""
    pts = np.arange(len(images))
    return join_words(hash_words(Frames(np.stack([small(image) for image in images]), pts, pts / 10)))


def distance(left, right):
    return bin(int(hashed(left)[0]) ^ int(hashed(right)[0])).count("1")


def jpeg(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "copy",
    [jpeg, lambda image: cv2.resize(image, (160, 90)), lambda image: cv2.convertScaleAbs(image, alpha=0.8, beta=20)],
    ids=["jpeg", "half size", "brightness"],
)
def test_copies_are_near(copy):
    assert all(distance(picture(seed), copy(picture(seed))) <= 6 for seed in range(20))


def test_other_pictures_are_far():
    apart = [distance(picture(seed), picture(seed + 100)) for seed in range(20)]
    assert min(apart) >= 16 and 26 <= np.mean(apart) <= 38


def test_half_of_the_bits_are_set():
    assert all(28 <= bin(int(value)).count("1") <= 32 for value in hashed(*map(picture, range(10))))


def test_a_flat_picture_has_the_hash_zero():
    assert hashed(np.full((180, 320, 3), 77, np.uint8)).tolist() == [0]


def test_the_words_hold_all_64_bits():
    words = np.array([[0xFFFF, 0x8000, 1, 0]], np.float32)
    assert join_words(words).tolist() == [0xFFFF_8000_0001_0000]


def test_a_clip_has_the_hashes_of_its_evenly_spread_frames():
    pts = np.arange(20) * 100
    images = np.stack([small(picture(seed)) for seed in range(20)])
    feeder = PerceptualHash(positions=2).start(FACTS)
    feeder.feed(Frames(images, pts, pts / 1000))
    series = Series(pts, pts / 1000, feeder.finish())
    # A quarter and three quarters of 1000..1999: 1250 and 1750, of which the earlier neighbour is taken.
    found = PerceptualHash(positions=2).aggregate(series, Span(1000, 2000), FACTS)["phash"]
    assert found == hashed(picture(12), picture(17)).tolist()


def test_a_clip_without_frames_has_no_hash():
    assert PerceptualHash().aggregate(
        Series(np.zeros(0, np.int64), np.zeros(0), {"phash": np.zeros((0, 4), np.float32)}), Span(0, 10), FACTS
    ) == {"phash": None}


# imagehash.phash of ImageHash 4.3.2, which squashes pictures to 32 x 32 and gives the mean a bit of its own.
IMAGEHASH = {
    ("bbb.mp4", 200): 0xDAAFA48E4354D632,
    ("bikes.mp4", 3): 0xA060AF3D862F5EB1,
    ("demo.mp4", 20): 0x88E0755F1F2FAAC0,
    ("face.mp4", 5): 0x926C696D4996936E,
    ("gymnast-1-1.mp4", 1): 0xE8C85C5FB933078A,
    ("walking.mp4", 3): 0xD7F2E1EEA6E04884,
}


def test_it_agrees_with_the_implementation_of_others_on_real_frames(still):
    bits = {name: bin(int(hashed(still(*name))[0]) ^ theirs).count("1") for name, theirs in IMAGEHASH.items()}
    assert max(bits.values()) <= 4, bits
