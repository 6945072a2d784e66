"""Small pictures of clips."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np

from hpc_curate.errors import BadInput
from hpc_curate.stage import Clip


def small_pictures(frames: Iterable[tuple[str, Clip | BadInput]], thumbnail_px: int) -> dict[str, bytes]:
    """A JPEG by clip, of its first frame that is given; clips without a frame are left out.

    Args:
        thumbnail_px: the long side.
    """
    return {name: jpeg(clip.frames[0], thumbnail_px) for name, clip in frames if not isinstance(clip, BadInput)}


def jpeg(frame: np.ndarray, thumbnail_px: int) -> bytes:
    """A small picture of one frame, uint8 [H, W, 3], as JPEG."""
    from PIL import Image

    picture, file = Image.fromarray(frame), io.BytesIO()
    picture.thumbnail((thumbnail_px, thumbnail_px))
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()
