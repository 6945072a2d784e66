"""The rectangle of the picture that is left without black bars, logos and text that stays in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.boxes import largest_free, united
from hpc_curate.stage import Item, PerUnit, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

CLEAN = ("clean_x", "clean_y", "clean_w", "clean_h")
_CROP = ("crop_x", "crop_y", "crop_w", "crop_h")
_BOXES = ("watermark_boxes", "text_overlay_boxes")


@dataclass(frozen=True)
class Overlays(PerUnit):
    """The largest rectangle within the crop of `borders` that no box of `watermark` or `text` reaches into.

    Looks at columns only. Columns, in display pixels, even numbers, rounded inwards: `clean_x`, `clean_y`, `clean_w`,
    `clean_h`, which `stage.cut.overlays=true` crops to; `clean_share`, what is left of the picture's area (4 digits).
    Null where `text` has no value; a video of which `watermark` can tell nothing counts as one without a logo.
    """

    name: ClassVar[str] = "overlays"

    margin_share: float = 0.005  # of the long side, kept free around each box

    def reads(self) -> tuple[str, ...]:
        return ("width", "height", *_CROP, *_BOXES)

    def writes(self) -> dict[str, pa.Schema]:
        sides = [(name, pa.int32()) for name in CLEAN]
        return {"rows": pa.schema([("clip_id", pa.string()), *sides, ("clean_share", pa.float64())])}

    def process(self, model: None, inputs: Inputs, item: Item) -> Tables:
        rows = [self._row(clip) for clip in inputs.clips(self.reads()).to_pylist()]
        return {"rows": pa.Table.from_pylist(rows, schema=self.writes()["rows"])}

    def _row(self, clip: dict[str, Any]) -> dict[str, Any]:
        if clip["text_overlay_boxes"] is None or clip["crop_w"] is None:
            return {"clip_id": clip["clip_id"]}
        x, y, width, height = (clip[name] for name in _CROP)
        boxes = np.array([*(clip["watermark_boxes"] or []), *clip["text_overlay_boxes"]], float).reshape(-1, 4)
        boxes *= (clip["width"], clip["height"]) * 2
        margin = self.margin_share * max(clip["width"], clip["height"])
        boxes = united(boxes + (-margin, -margin, margin, margin))
        left, top, right, bottom = largest_free(np.array([x, y, x + width, y + height], float), boxes).tolist()
        inside = [2 * -(-left // 2), 2 * -(-top // 2), 2 * (right // 2), 2 * (bottom // 2)]
        sides = (inside[0], inside[1], max(0, inside[2] - inside[0]), max(0, inside[3] - inside[1]))
        whole = clip["width"] * clip["height"]
        return {
            "clip_id": clip["clip_id"],
            **dict(zip(CLEAN, map(int, sides), strict=True)),
            "clean_share": round(sides[2] * sides[3] / whole, 4),
        }
