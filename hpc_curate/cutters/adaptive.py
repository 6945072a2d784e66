"""PySceneDetect's adaptive detector: a cut is where a frame differs much more than its neighbours do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.cutters.content import apart, content_scores
from hpc_curate.measures import Facts, Feeder, Series


@dataclass(frozen=True)
class Adaptive(Cutter):
    """The content score of a frame against the mean score of its neighbours, which forgives fast camera motion.

    The scores are those of PySceneDetect 0.7's `ContentDetector` on the small frames; `transitions` repeats the rules
    of its `AdaptiveDetector`. All defaults are those of its command line, which does best with them among its
    detectors in its own benchmark (BBC F1 0.916). Scores are stored as float32, so a ratio that ties with the
    threshold to 7 digits may fall on the other side.
    """

    name: ClassVar[str] = "adaptive"
    series_settings: ClassVar[tuple[str, ...]] = ("component_weights",)
    component_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.0)  # hue, saturation, luma, edges
    threshold: float = 3.0  # times the mean score of the neighbours
    window_frames: int = 2  # neighbours on each side
    min_content: float = 15.0
    min_shot_s: float = 0.6

    def start(self, facts: Facts) -> Feeder:
        return content_scores(self.component_weights, facts)

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        scores = series.values["score"].astype(np.float64)
        times_s = series.times_s.tolist()
        cuts: list[tuple[int, int]] = []
        last = 0
        for index in np.flatnonzero(self._stands_out(scores)).tolist():
            if apart(times_s, last, index) >= self.min_shot_s:
                cuts.append((index, index))
                last = index
        return cuts

    def _stands_out(self, scores: np.ndarray) -> np.ndarray:
        """bool [N]. Frames with fewer neighbours than asked for, at both ends, never do."""
        window = self.window_frames
        result = np.zeros(len(scores), bool)
        if len(scores) <= 2 * window:
            return result
        around = np.lib.stride_tricks.sliding_window_view(scores, 2 * window + 1)
        centre = around[:, window]
        mean = np.delete(around, window, axis=1).sum(axis=1) / (2.0 * window)
        # Beside neighbours that do not change at all any change stands out; the library caps ratios at 255.
        ratio = np.where(mean < 1e-5, 255.0, np.minimum(centre / np.maximum(mean, 1e-5), 255.0))
        result[window : len(scores) - window] = (ratio >= self.threshold) & (centre >= self.min_content)
        return result
