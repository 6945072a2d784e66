"""PySceneDetect's content detector: a cut is where two frames differ by more than a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_curate.cutters import Cutter
from hpc_curate.measures import Collector, Facts, Feeder, Frames, Series


@dataclass(frozen=True)
class Content(Cutter):
    """Mean difference in hue, saturation and luma to the frame before, against a fixed threshold.

    The scores are those of PySceneDetect 0.7's `ContentDetector` on the small frames. Threshold, weights and the 0.6 s
    are the defaults of its command line. `transitions` repeats its `FlashFilter` in merge mode: cuts that follow each
    other faster than `min_shot_s` become one cut at the last of them. Scores are stored as float32, so one that ties
    with the threshold to 7 digits may fall on the other side.
    """

    name: ClassVar[str] = "content"
    series_settings: ClassVar[tuple[str, ...]] = ("component_weights",)
    component_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.0)  # hue, saturation, luma, edges
    threshold: float = 27.0
    min_shot_s: float = 0.6

    def start(self, facts: Facts) -> Feeder:
        return content_scores(self.component_weights, facts)

    def transitions(self, series: Series) -> list[tuple[int, int]]:
        above = series.values["score"].astype(np.float64) >= self.threshold
        cuts = merge_flashes(above.tolist(), series.times_s.tolist(), self.min_shot_s)
        return [(cut, cut) for cut in cuts]


def content_scores(weights: Sequence[float], facts: Facts) -> Feeder:
    """The feeder of the series `score`, float32 [N]: 0 at the first frame, else its difference to the one before."""
    import cv2
    from scenedetect import FrameTimecode
    from scenedetect.detectors import ContentDetector

    # The length rule is off: it belongs to `transitions`.
    detector = ContentDetector(min_scene_len=0, weights=ContentDetector.Components(*weights))
    position = FrameTimecode(0, facts.fps)

    def score(frames: Frames) -> np.ndarray:
        count, height, width, _ = frames.pixels.shape
        tall = cv2.cvtColor(frames.pixels.reshape(count * height, width, 3), cv2.COLOR_RGB2BGR)
        scores = np.zeros(count)
        for index, picture in enumerate(tall.reshape(count, height, width, 3)):
            detector.process_frame(position, picture)
            # Asking through a stats manager, which is public, would compute edges that nobody uses.
            scores[index] = detector._frame_score
        return scores

    return Collector("score", score)


def merge_flashes(above: Sequence[bool], times_s: Sequence[float], min_shot_s: float) -> list[int]:
    """The frames at which new shots begin, as PySceneDetect's `FlashFilter` finds them in merge mode.

    Args:
        above: for each frame, whether its score reaches the threshold.
        times_s: float seconds, rounded to microseconds.
    """
    if min_shot_s <= 0:
        return [index for index, is_above in enumerate(above) if is_above]
    cuts: list[int] = []
    last_above = 0
    merging_since: int | None = None
    for index, is_above in enumerate(above):
        long_enough = apart(times_s, last_above, index) >= min_shot_s
        if is_above:
            last_above = index
        if merging_since is not None:
            if long_enough and not is_above and apart(times_s, merging_since, last_above) >= min_shot_s:
                merging_since = None
                cuts.append(last_above)
        elif is_above and long_enough:
            cuts.append(index)
        elif is_above and cuts:
            merging_since = index
    return cuts


def apart(times_s: Sequence[float], first: int, second: int) -> float:
    """Seconds between two frames; rounded, because 3.6 - 3.0 is less than 0.6."""
    return round(times_s[second] - times_s[first], 6)
