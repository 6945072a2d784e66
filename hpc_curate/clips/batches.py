"""Many clips through a model at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hpc_curate.stage import Clip


def per_clip(model: Callable[[np.ndarray], np.ndarray], clips: Sequence[Clip]) -> list[np.ndarray]:
    """What a model says of the frames of each clip, in the order of `clips`.

    Args:
        model: from uint8 [N, H, W, 3] to an array [N, ...]. It is given the frames of neighbours together where they
            have the same size.
    """
    found: list[np.ndarray] = []
    for batch in _of_one_size(clips):
        values = model(np.concatenate([clip.frames for clip in batch]))
        found += np.split(values, np.cumsum([len(clip.frames) for clip in batch])[:-1])
    return found


def _of_one_size(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    batch: list[Clip] = []
    for clip in clips:
        if batch and clip.frames.shape[1:] != batch[0].frames.shape[1:]:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch
