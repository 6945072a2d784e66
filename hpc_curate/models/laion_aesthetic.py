"""LAION's aesthetic heads: from CLIP features of a picture to how much people would like it, about 1 to 10.

Models: the MLP of improved-aesthetic-predictor (sac+logos+ava1-l14-linearMSE.pth, and its safetensors copies) and the
linear heads of LAION's aesthetic-predictor (sa_0_4_vit_l_14_linear.pth and others), from a local file; nothing is
shipped. Revision: the checksum of the file. Normalisation: features of length one, of the model that the head was
trained on: OpenAI's ViT-L-14 for the MLP. Neither has a nonlinearity, so both are a chain of matrices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpc_curate.errors import ConfigError

_LAYER = re.compile(r"(?:layers\.(\d+)\.)?weight")

Layers = list[tuple[np.ndarray, np.ndarray]]  # weights float32 [out, in] and bias [out], in order


def load(weights: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function from features float32 [N, D] to scores float32 [N]; NaN for features that are all zero.

    Raises:
        ConfigError: the file holds something else, or something that would run code.
    """
    layers = _layers(_state(weights), weights)

    def score(features: np.ndarray) -> np.ndarray:
        if features.shape[1] != layers[0][0].shape[1]:
            raise ConfigError(
                f"head {weights.name} takes {layers[0][0].shape[1]} features, the model gives {features.shape[1]};"
                " it must be the model that the head was trained on"
            )
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        values = features / np.where(lengths > 0, lengths, np.nan)
        for matrix, bias in layers:
            values = values @ matrix.T + bias
        return values[:, 0]

    return score


def _state(weights: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name. A pickle is read without running anything in it."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    except (OSError, RuntimeError, AttributeError, pickle.UnpicklingError, SafetensorError) as error:
        raise ConfigError(f"head {weights}: not a checkpoint of plain tensors ({error})") from error


def _layers(state: dict[str, np.ndarray], weights: Path) -> Layers:
    matches = [match for match in map(_LAYER.fullmatch, state) if match]
    order = sorted(matches, key=lambda match: int(match[1] or 0))
    names = [match[0].removesuffix("weight") for match in order]
    if not names or set(state) != {f"{name}{part}" for name in names for part in ("weight", "bias")}:
        raise ConfigError(f"head {weights}: neither LAION's MLP nor its linear head; it holds {', '.join(state)}")
    layers = [(state[f"{name}weight"], state[f"{name}bias"]) for name in names]
    sizes = [matrix.shape for matrix, _ in layers]
    if sizes[-1][0] != 1 or any(before[0] != after[1] for before, after in zip(sizes, sizes[1:], strict=False)):
        raise ConfigError(f"head {weights}: its layers {sizes} do not lead to one number")
    return layers
