"""A cascade: a cheap test proposes generously, TransNetV2 judges only the windows around what it proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.cutters.gradual import distances, tile_means
from hpc_curate.cutters.transnetv2 import MARGIN, Predict, Windows, runs_above
from hpc_curate.measures import Facts, Feeder, Series

_STEPS = (1, 4, 12, 24)  # frames within which a change is looked for
_HALF = 0.5
_SLACK = 3  # frames beside those that a window answers for


@dataclass(frozen=True)
class Cascade(Cutter):
    """TransNetV2 where the picture changes, and no answer (NaN) elsewhere. Needs the extra `torch`.

    A window of 100 frames, of which TransNetV2 answers for the middle 50, is judged if anywhere in that middle the
    picture changes by `propose_change` within 1 to 24 frames, and does so straight, as cuts, fades and dissolves do
    (see the cutter gradual). What is judged is what the cutter transnetv2 would have said, to the last digit.
    """

    name: ClassVar[str] = "cascade"
    series_settings: ClassVar[tuple[str, ...]] = ("propose_change", "propose_directness")
    threshold: float = 0.5
    propose_change: float = 8.0  # mean levels of 255
    propose_directness: float = 0.6  # distance between two frames over the sum of the steps between them

    def weights(self) -> Sequence[Path]:
        from hpc_curate.models import transnetv2

        return (transnetv2.weights(),)

    def start(self, facts: Facts) -> Feeder:
        from hpc_curate.models import transnetv2

        return Windows(self.judge(transnetv2.load()))

    def judge(self, predict: Predict) -> Predict:
        """`predict`, asked only about windows with a proposal."""

        def judged(window: np.ndarray) -> np.ndarray:
            return predict(window) if self.proposes(window) else np.full(len(window), np.nan, np.float32)

        return judged

    def proposes(self, window: np.ndarray) -> bool:
        """Whether something may happen in the middle half of a window uint8 [100, 27, 48, 3]."""
        first, end = MARGIN - _SLACK, len(window) - MARGIN + _SLACK
        tiles = tile_means(window)
        step = distances(tiles, 1)
        way = np.concatenate([[0.0], np.cumsum(step)])
        for steps in _STEPS:
            covered, walked = distances(tiles, steps), way[steps:] - way[:-steps]
            straight = (covered >= self.propose_change) & (covered >= self.propose_directness * walked)
            if steps > 1:  # a hard cut lies where its one step is, and not wherever these begin and end
                straight &= np.lib.stride_tricks.sliding_window_view(step, steps).max(axis=1) <= _HALF * covered
            # A change within these steps touches the middle if it ends after `first` and begins before `end`.
            if straight[max(first - steps, 0) : end].any():
                return True
        return False

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        return runs_above(series.values["probability"], self.threshold)
