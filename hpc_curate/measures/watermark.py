"""Watermark: logos that stay where they are while the picture changes. A proxy: no model has learned what a logo is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.boxes import union_area, united
from hpc_curate.measures import Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span

_LONG_SIDE_PX = 320  # of the pictures that are compared: letters of a logo are a few pixels high, coding noise is gone
_LOOKS = 64  # pictures of a video that are compared at most
_MIN_EDGE_LEVELS = 24  # sum of the two Sobel components, from which there is an edge: 3 levels a pixel
_MAX_SPREAD = 0.6  # of the median edge: how far half of the looks may be from it
_CHANGE_LEVELS = 6  # by which half of the looks differ from the median picture where the picture changes
_BOXES = 8  # that are kept


@dataclass(frozen=True)
class Watermark(Measure):
    """Edges that are the same in most of a video, in the margins, with a picture around them that changes.

    Up to 64 native frames spread over the whole video are made small. Median signed gradients that half of them share
    (the median edge map of Dekel et al., CVPR 2017, over the frames of one video) are joined where they lie close. A
    group of at least `min_edge_share` of the picture is a logo if it touches no edge of the picture, lies within
    `margin_share` of one, and at least `min_change` of the ring around it changes. Many shots tell a logo well; in a
    single shot what the camera follows may pass for one, and what lies on a flat or still ground is not found.

    Every clip of a video gets the same columns: `watermark_area`, the share of the picture under those groups
    (4 digits), a proxy; `watermark_boxes`, a list of [left, top, right, bottom] in shares of the picture (4 digits).
    Null where nothing can be told: fewer than `min_looks` frames, or less than a fifth of the picture changes.
    """

    name: ClassVar[str] = "watermark"
    grid: ClassVar[str] = "native"
    series_settings: ClassVar[tuple[str, ...]] = ("min_edge_share", "margin_share", "min_change", "min_looks")
    columns: ClassVar[pa.Schema] = pa.schema(
        [("watermark_area", pa.float64()), ("watermark_boxes", pa.list_(pa.list_(pa.float64())))]
    )
    min_edge_share: float = 0.0005
    margin_share: float = 0.3
    min_change: float = 0.6
    min_looks: int = 6

    def start(self, facts: Facts) -> Feeder:
        return _Looks(self)

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        if not len(series.pts) or series.values["boxes"][0, 0] < 0:
            return dict.fromkeys(self.columns.names)
        boxes = series.values["boxes"][0].astype(np.float64).reshape(-1, 4)
        boxes = boxes[boxes[:, 2] > 0]
        return {"watermark_area": round(union_area(boxes), 4), "watermark_boxes": boxes.round(4).tolist()}


class _Looks:
    """Keeps every second, then every fourth (and so on) frame of a video, so that their number has a bound."""

    def __init__(self, settings: Watermark) -> None:
        self.settings = settings
        self.count, self.step = 0, 1
        self.looks: list[np.ndarray] = []  # uint8 [h, w]

    def feed(self, frames: Frames) -> None:
        for luma in frames.luma():
            if self.count % self.step == 0:
                self.looks.append(_made_small(luma))
                if len(self.looks) > _LOOKS:
                    self.looks, self.step = self.looks[::2], 2 * self.step
            self.count += 1

    def finish(self) -> dict[str, np.ndarray]:
        """One row of boxes, the same for every frame; all -1 where nothing can be told, 0 where there is no box."""
        row = np.full((_BOXES, 4), -1.0, np.float32)
        # A change of size half way leaves looks that cannot be compared.
        if len(self.looks) >= self.settings.min_looks and len({look.shape for look in self.looks}) == 1:
            found = logos(np.stack(self.looks), self.settings)
            if found is not None:
                row[:] = 0
                row[: len(found)] = found[:_BOXES]
        return {"boxes": np.tile(row.reshape(1, -1), (self.count, 1))}


def logos(looks: np.ndarray, settings: Watermark) -> np.ndarray | None:
    """Left, top, right, bottom in shares of the picture, float64 [N, 4]; None where nothing can be told.

    Args:
        looks: uint8 [N, h, w], frames of one video.
    """
    import cv2

    constant = _constant_edges(looks)
    middle = _median(looks)
    changing = _median(np.stack([cv2.absdiff(look, middle) for look in looks])) >= _CHANGE_LEVELS
    if changing.mean() < 0.2:
        return None
    height, width = constant.shape
    reach = np.ones((_reach(looks), _reach(looks)), np.uint8)
    joined = cv2.morphologyEx(constant.astype(np.uint8), cv2.MORPH_CLOSE, reach)
    ground = cv2.dilate(constant.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    count, groups = cv2.connectedComponents(joined)
    boxes = []
    for group in range(1, count):
        inside = groups == group
        box = _box(inside & constant)
        ring = (cv2.dilate(inside.astype(np.uint8), reach) > 0) & ground
        large = (inside & constant).sum() >= settings.min_edge_share * inside.size
        if large and ring.any() and changing[ring].mean() >= settings.min_change and _in_margin(box, inside, settings):
            boxes.append(box / (width, height, width, height))
    return united(np.array(boxes).reshape(-1, 4))


def _constant_edges(looks: np.ndarray) -> np.ndarray:
    """bool [h, w]: where half of the looks have much the same gradient."""
    import cv2

    across, down = (np.stack([cv2.Sobel(look, cv2.CV_16S, dx, 1 - dx) for look in looks]) for dx in (1, 0))
    typical = _median(across), _median(down)
    strength = np.abs(typical[0]) + np.abs(typical[1])
    spread = _median(np.abs(across - typical[0]) + np.abs(down - typical[1]))
    return (strength > _MIN_EDGE_LEVELS) & (spread < _MAX_SPREAD * strength)


def _median(values: np.ndarray) -> np.ndarray:
    """The upper median over the first axis, in the type of the values: five times as fast as numpy's."""
    return np.partition(values, len(values) // 2, axis=0)[len(values) // 2]


def _box(mask: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of what is true, in pixels; an empty box at the corner if nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(4)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def _in_margin(box: np.ndarray, picture: np.ndarray, settings: Watermark) -> bool:
    height, width = picture.shape
    left, top, right, bottom = box
    # Sobel sees no edge at the very edge of a picture.
    if left <= 1 or top <= 1 or right >= width - 1 or bottom >= height - 1:
        return False
    wide, high = settings.margin_share * width, settings.margin_share * height
    return right <= wide or bottom <= high or left >= width - wide or top >= height - high


def _reach(looks: np.ndarray) -> int:
    """How near edges lie to each other in one logo: an odd number of pixels, a fiftieth of the long side."""
    return max(3, round(0.02 * max(looks.shape[1:]))) | 1


def _made_small(luma: np.ndarray) -> np.ndarray:
    import cv2

    scale = _LONG_SIDE_PX / max(luma.shape)
    if scale >= 1:
        return luma.copy()
    fy, fx = (max(scale, 1 / side) for side in luma.shape)  # of a strip of a picture one line is left
    return cv2.resize(luma, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA)
