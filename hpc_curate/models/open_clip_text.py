"""The text tower of any open_clip model, from weights in a local file: the same file and name as for its pictures.

Revision and normalisation are those of `open_clip_image`; texts go through open_clip's own tokenizer, cut off at the
model's context length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.models.open_clip_image import create
from hpc_curate.stage import Resources

_BATCH = 256  # texts that go through the tower at once


@dataclass(frozen=True)
class TextTower:
    """Texts as vectors beside those of pictures."""

    encode: Callable[[Sequence[str]], np.ndarray]  # float32 [N, D], each of length one
    scale: float  # what a cosine was multiplied by in training, before the softmax


def load(architecture: str, weights: Path, resources: Resources) -> TextTower:
    """The tower of a local checkpoint.

    Raises:
        ConfigError: no such file or architecture, or one whose tokenizer would have to be fetched.
    """
    import open_clip
    import torch

    model, _, device = create(architecture, weights, resources)
    name = architecture.partition("@")[0]
    if open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name"):
        raise ConfigError(f"{name} has a tokenizer that would be fetched from a hub; only open_clip's own is used")
    tokenizer = open_clip.get_tokenizer(name)

    def encode(texts: Sequence[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(texts), _BATCH):
            tokens = tokenizer(list(texts[start : start + _BATCH])).to(device)
            with torch.inference_mode():
                parts.append(model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(parts)

    return TextTower(encode, float(model.logit_scale.detach().exp()))
