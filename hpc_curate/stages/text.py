"""Text in the picture: how much of it there is, and how much of it stays in place as overlays do."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.boxes import overlap_shares, union_area, united
from hpc_curate.errors import BadInput
from hpc_curate.stage import Clip, Resources, Scorer

if TYPE_CHECKING:
    from hpc_curate.models.ppocr import Line

Reader = Callable[[np.ndarray], "list[Line]"]  # uint8 [H, W, 3] -> lines


@dataclass(frozen=True)
class Text(Scorer):
    """Lines that PP-OCRv6 finds and can read, in frames spread over the clip.

    A line counts if it was read with `min_score` (Open-Sora 2.0 asks for 0.7) and holds two letters or digits: where
    there is no text, the detector alone marks whole pictures, which the reader then makes nothing of.

    Overlay text (titles, captions, subtitles, tickers) stays where it is while the picture goes on. After the stable
    boxes of cosmos-curate: a line is an overlay if at least `stay_share` of the frames, two at least, have a line in
    its place: in the same rows (`min_iou` of their heights) and with half of the shorter one shared, so that subtitles
    that change are in one place too. A sign in a scene filmed from a tripod stays in place as well, and is counted.

    Columns: `text_area`, share of the picture under lines, mean over the frames, and `text_area_max`, that of the
    fullest frame; `text_overlay_area`, share under overlay lines; `text_count`, lines a frame (2 digits);
    `text_overlay_boxes`, a list of [left, top, right, bottom] in shares of the picture. Shares have 4 digits. With
    `transcript` also `text`: the different lines, in the order in which they appear.
    """

    name: ClassVar[str] = "text"

    min_score: float = 0.7
    stay_share: float = 0.5
    min_iou: float = 0.6
    long_side_px: int = 960  # of the picture in which lines are looked for; smaller ones stay as they are
    transcript: bool = False

    def writes(self) -> dict[str, pa.Schema]:
        shares = [(name, pa.float64()) for name in ("text_area", "text_area_max", "text_overlay_area", "text_count")]
        columns = [("clip_id", pa.string()), *shares, ("text_overlay_boxes", pa.list_(pa.list_(pa.float64())))]
        if self.transcript:
            columns.append(("text", pa.list_(pa.string())))
        return {"rows": pa.schema([*columns, ("error", pa.string())])}

    def weights(self) -> Sequence[Path]:
        return importlib.import_module("hpc_curate.models.ppocr").weights()

    def load(self, resources: Resources) -> Reader:
        return importlib.import_module("hpc_curate.models.ppocr").load(self.long_side_px, resources)

    def score(self, model: Reader, clips: Sequence[Clip]) -> list[dict[str, Any] | BadInput]:
        return [self._one(model, clip) for clip in clips]

    def _one(self, model: Reader, clip: Clip) -> dict[str, Any]:
        height, width = clip.frames.shape[1:3]
        lines = [[line for line in model(frame) if self._counts(line)] for frame in clip.frames]
        boxes = [_boxes(found, width, height) for found in lines]
        areas = [union_area(found) for found in boxes]
        overlays = self._staying(boxes)
        row = {
            "text_area": round(float(np.mean(areas)), 4),
            "text_area_max": round(max(areas), 4),
            "text_overlay_area": round(union_area(overlays), 4),
            "text_count": round(float(np.mean([len(found) for found in lines])), 2),
            "text_overlay_boxes": overlays.round(4).tolist(),
        }
        if self.transcript:
            row["text"] = list(dict.fromkeys(line.text for found in lines for line in found))
        return row

    def _counts(self, line: Line) -> bool:
        return line.score >= self.min_score and sum(map(str.isalnum, line.text)) >= 2

    def _staying(self, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """The boxes that have company in the same place of other frames, those that touch made one: [N, 4]."""
        needed = max(2, math.ceil(self.stay_share * len(boxes)))
        staying = []
        for mine in boxes:
            seen = np.zeros(len(mine), int)
            for theirs in boxes:
                seen += self._same_place(mine, theirs).any(axis=1)
            staying.append(mine[seen >= needed])
        return united(np.concatenate(staying))

    def _same_place(self, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """bool [N, M]."""
        shared, shorter, both = overlap_shares(mine, theirs)
        return (shared[..., 1] >= self.min_iou * both[..., 1]) & (shared[..., 0] >= 0.5 * shorter[..., 0])


def _boxes(lines: Sequence[Line], width: int, height: int) -> np.ndarray:
    """Left, top, right, bottom in shares of the picture: float64 [N, 4]."""
    if not lines:
        return np.zeros((0, 4))
    corners = np.stack([line.corners for line in lines]) / (width, height)  # [N, 4, 2]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).clip(0, 1)
