"""Image features of any open_clip model, from weights in a local file.

Model: `architecture`, a name that open_clip lists, and a checkpoint file; never a hub.
Revision: the checksum of the file, which enters the signature of the stage. Normalisation and activation: what
open_clip states for the published weights of that architecture. Where they differ, name the one meant:
`ViT-L-14@openai`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.models.sessions import in_batches, log
from hpc_curate.stage import Resources

_STATED = {
    "mean": "image_mean",
    "std": "image_std",
    "interpolation": "image_interpolation",
    "resize_mode": "image_resize_mode",
    # A file does not say which activation it was trained with, and with the wrong one features are a little off.
    "quick_gelu": "force_quick_gelu",
}


def load(architecture: str, weights: Path, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 [N, H, W, 3] to float32 [N, D].

    Raises:
        ConfigError: no such file or architecture, or one with several normalisations or activations.
    """
    import torch
    from PIL import Image

    model, transform, device = create(architecture, weights, resources)

    def run(some: np.ndarray) -> np.ndarray:
        pictures = torch.stack([transform(Image.fromarray(frame)) for frame in some])
        with torch.inference_mode():
            return model.encode_image(pictures.to(device)).float().cpu().numpy()

    return lambda frames: in_batches(run, frames)


def create(architecture: str, weights: Path, resources: Resources) -> tuple[Any, Any, str]:
    """The model with both its towers, what makes a picture its input, and the device it is on.

    Raises:
        ConfigError: as `load`.
    """
    import open_clip
    import torch

    if not weights.is_file():
        raise ConfigError(f"weights {weights}: no such file; give the path of a local checkpoint")
    name, _, tag = architecture.partition("@")
    stated = _stated(name, tag)
    torch.set_num_threads(resources.cpus)
    device = "cuda" if resources.gpus and torch.cuda.is_available() else "cpu"
    if resources.gpus and device == "cpu":
        log.warning("%s runs on the processor: torch sees no GPU", architecture)
    model, transform = open_clip.create_model_from_pretrained(name, pretrained=str(weights), device=device, **stated)
    model.eval()
    return model, transform, device


def normalisation(architecture: str) -> str:
    """What is done to pictures, in words that are equal where it is the same.

    Raises:
        ConfigError: no such architecture, or one with several normalisations or activations.
    """
    import open_clip

    name, _, tag = architecture.partition("@")
    stated = _stated(name, tag)
    size = open_clip.get_model_config(name)["vision_cfg"].get("image_size", 224)
    return ", ".join([f"RGB, size {size}", *(f"{key} {stated[key]}" for key in sorted(stated))])


def _stated(name: str, tag: str) -> dict[str, Any]:
    """What the published weights of an architecture (those of `tag`, if given) expect of pictures and network."""
    import open_clip

    if name not in open_clip.list_models():
        raise ConfigError(
            f"open_clip has no architecture {name!r}; it lists {', '.join(open_clip.list_models()[:5])} ..."
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag and tag not in tags:
        raise ConfigError(f"open_clip has no weights {tag!r} of {name}; it lists {', '.join(tags) or 'none'}")
    found = []
    for each in [tag] if tag else tags:
        published = open_clip.get_pretrained_cfg(name, each)
        settings = {ours: published[theirs] for theirs, ours in _STATED.items() if published.get(theirs)}
        if settings not in found:
            found.append(settings)
    if len(found) > 1:
        raise ConfigError(
            f"{name} was published with several normalisations or activations; name the one meant, as {name}@{tags[0]}"
        )
    return found[0] if found else {}
