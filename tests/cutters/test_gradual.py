"""Fades, dissolves and wipes are found with their frames; cuts, flashes and pans are none of them."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from hpc_curate.cutters.gradual import Gradual, distances, tile_means
from hpc_curate.measures import Series

FPS = Fraction(25)


def picture(seed, width=64):
    """A smooth random colour picture: uint8 [36, width, 3]."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, width // 8, 3), np.uint8)
    return cv2.resize(noise, (width, 36), interpolation=cv2.INTER_CUBIC)


def still(scene, count, seed=0):
    """A shot of a picture with a little noise: uint8 [count, 36, 64, 3]."""
    noise = np.random.default_rng(seed).integers(-2, 3, (count, *scene.shape))
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


def mixed(old, new, count):
    """What xfade shows: the old picture first, the new one after the last frame."""
    weight = (np.arange(count) / count)[:, None, None, None]
    return (old * (1 - weight) + new * weight).astype(np.uint8)


def wiped(old, new, count):
    frames = np.stack([old] * count)
    for index in range(count):
        frames[index, :, : index * 64 // count] = new[:, : index * 64 // count]
    return frames


A, B, BLACK, WHITE = picture(1), picture(2), np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 255, np.uint8)


@pytest.mark.parametrize("join", [mixed, wiped])
@pytest.mark.parametrize("count", [6, 12, 25, 50])
def test_the_range_is_that_of_the_transition(scan, join, count):
    film = np.concatenate([still(A, 60), join(A, B, count), still(B, 60)])
    ((end, start),) = Gradual().transitions(scan(Gradual(), film, FPS))
    # The last twentieth at both ends is as good as the picture there; a wipe may begin where the two look alike.
    slack = 1 + count // 20 + (count // 8 if join is wiped else 0)
    assert abs(end - 61) <= slack and abs(start - (60 + count)) <= slack


@pytest.mark.parametrize("between", [BLACK, WHITE], ids=["black", "white"])
@pytest.mark.parametrize("shown", [1, 10])
def test_out_and_in_again_are_one_transition(scan, between, shown):
    film = [still(A, 60), mixed(A, between, 12), np.stack([between] * shown), mixed(between, B, 12), still(B, 60)]
    ((end, start),) = Gradual().transitions(scan(Gradual(), np.concatenate(film), FPS))
    assert abs(end - 61) <= 1 and abs(start - (84 + shown)) <= 1


def test_a_shot_of_black_that_is_long_enough_is_a_shot(scan):
    film = [still(A, 60), mixed(A, BLACK, 12), np.stack([BLACK] * 30), mixed(BLACK, B, 12), still(B, 60)]
    assert len(Gradual().transitions(scan(Gradual(), np.concatenate(film), FPS))) == 2
    assert len(Gradual(min_shot_s=2.0).transitions(scan(Gradual(), np.concatenate(film), FPS))) == 1


def test_a_video_may_begin_and_end_with_a_fade(scan):
    film = np.concatenate([mixed(BLACK, A, 20), still(A, 80), mixed(A, BLACK, 20), np.stack([BLACK] * 5)])
    (first, start), (end, last) = Gradual().transitions(scan(Gradual(), film, FPS))
    assert first <= 2 and 18 <= start <= 21 and 100 <= end <= 102 and 117 <= last <= 121


def no_transition():
    wide = picture(3, 640)
    pan = np.stack([wide[:, 8 * index : 8 * index + 64] for index in range(60)])
    flash = still(A, 120)
    flash[60:63] = np.clip(flash[60:63].astype(int) + np.array([200, 120, 60])[:, None, None, None], 0, 255)
    return {
        "hard cut": np.concatenate([still(A, 60), still(B, 60)]),
        "flash": flash,
        "pan": np.concatenate([still(pan[0], 40), pan, still(pan[-1], 40)]),
        "still": still(A, 120),
        "slow change of light": mixed(A, np.clip(A * 0.8, 0, 255), 400),
    }


@pytest.mark.parametrize("what", no_transition())
def test_nothing_else_is_one(scan, what):
    film = no_transition()[what]
    assert Gradual().transitions(scan(Gradual(), film, FPS)) == []


def test_a_video_shorter_than_a_transition_has_none():
    for count in range(4):
        pts = np.arange(count)
        assert Gradual().transitions(Series(pts, pts / 25, {"tiles": np.zeros((count, 96), np.float32)})) == []


def test_most_frames_may_come_within_a_microsecond():
    """A stream of nanoseconds can say so, and one video must not stop the others of its unit."""
    pts = np.concatenate([np.arange(190), np.arange(1, 11) * 10**9])
    series = Series(pts, np.round(pts / 1e9, 6), {"tiles": np.zeros((len(pts), 96), np.float32)})
    assert Gradual().transitions(series) == []


def test_the_series_does_not_depend_on_the_runs_that_it_comes_in():
    film = np.concatenate([mixed(A, B, 40), still(B, 31)])
    whole = tile_means(film)
    assert whole.shape == (71, 96) and whole.dtype == np.float32
    assert np.array_equal(whole, np.concatenate([tile_means(film[:13]), tile_means(film[13:])]))


def test_distances_are_those_between_frames():
    tiles = np.random.default_rng(0).random((9000, 4)).astype(np.float32)
    wanted = np.abs(tiles[7:] - tiles[:-7]).mean(axis=1)
    assert np.array_equal(distances(tiles, 7), wanted)


def test_thresholds_do_not_change_the_series():
    assert Gradual.series_settings == ()


def test_the_fade_at_the_beginning_of_a_film_is_found(footage, scan):
    """Labelled as frames 0 to 60."""
    from hpc_curate.io import child, video

    facts = video.probe(footage / "bbb.mp4")
    policy = video.Policy(child.Limits(memory_gb=4, cpu_s=60, wall_s=120, file_gb=0.1))
    pixels, count = [], 0
    with video.Decoding(footage / "bbb.mp4", facts, [video.small_grid(facts, 64)], policy) as decoding:
        for _, frames in decoding:
            pixels.append(frames.pixels.copy())
            count += len(frames.pts)
            if count > 250:
                break
    film = np.concatenate(pixels)[:90]
    found = Gradual().transitions(scan(Gradual(), film, facts.fps))
    assert found and all(end < 60 and start <= 62 for end, start in found)
