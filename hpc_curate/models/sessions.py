"""ONNX models on the processor, or on the GPU where the task has one and the runtime can use it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.stage import Resources

log = logging.getLogger(__name__)

_BATCH = 32  # frames that go through a network at once


def open_session(weights: Path, resources: Resources, sha256: str | None = None) -> Any:
    """An onnxruntime session over a local file.

    Raises:
        ConfigError: no such file, or not the one whose checksum is given.
    """
    import onnxruntime

    if not weights.is_file():
        raise ConfigError(f"weights {weights}: no such file; give the path of a local ONNX file")
    if sha256 is not None and hashlib.sha256(weights.read_bytes()).hexdigest() != sha256:
        raise ConfigError(f"weights {weights}: not the file that was released (sha256 {sha256}); install again")
    providers = ["CPUExecutionProvider"]
    if has_cuda(resources, weights.name):
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    # On the processor the number of threads and of frames at once was seen to change no bit of the result.
    options.intra_op_num_threads = resources.cpus
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(weights), options, providers=providers)


def has_cuda(resources: Resources, what: str) -> bool:
    """Whether the task has a GPU that onnxruntime can use; one that it cannot use is said aloud."""
    import onnxruntime

    if not resources.gpus:
        return False
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return True
    log.warning("%s runs on the processor: this onnxruntime has no CUDA; install the extra gpu", what)
    return False


def squashed(frames: np.ndarray, side: int) -> np.ndarray:
    """uint8 [N, H, W, 3] to uint8 [N, side, side, 3]: the whole picture, bicubic with antialiasing."""
    from PIL import Image

    pictures = (Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC) for frame in frames)
    return np.stack([np.asarray(picture) for picture in pictures])


def in_batches(run: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
    """`run` over at most `_BATCH` frames at a time; float32 [N, D]."""
    parts = [run(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
    return np.concatenate(parts).astype(np.float32, copy=False)
