"""How many faces a clip shows, and how large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.errors import BadInput
from hpc_curate.models import blazeface
from hpc_curate.stage import Clip, Resources, Scorer


@dataclass(frozen=True)
class Faces(Scorer):
    """A tag, by BlazeFace on evenly spread frames of the frame pack: for conditioning and for quotas.

    Columns: `faces`, the most that one frame shows; `face_share`, the largest face (its box within the picture) as a
    share of the area of its frame (4 digits); `face_frames_share`, the share of frames with a face (4 digits).

    One face pasted into a street was found down to a twentieth of the picture's width by full_range, and to an eighth
    by short_range. Many are missed from the side, masked or upside down; drawn faces and patterns are sometimes taken
    for one. It counts faces and knows nobody.
    """

    name: ClassVar[str] = "faces"
    columns: ClassVar[pa.Schema] = pa.schema(
        [("faces", pa.int32()), ("face_share", pa.float64()), ("face_frames_share", pa.float64())]
    )

    frames_per_clip: int = 4
    model: blazeface.Variant = "full_range"
    min_score: float = 0.5  # MediaPipe's

    def weights(self) -> Sequence[Path]:
        return [blazeface.weights(self.model)]

    def load(self, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
        return blazeface.load(self.model, self.min_score, resources)

    def score(
        self, model: Callable[[np.ndarray], np.ndarray], clips: Sequence[Clip]
    ) -> list[dict[str, Any] | BadInput]:
        return [_counted([model(frame) for frame in clip.frames]) for clip in clips]


def _counted(faces: list[np.ndarray]) -> dict[str, Any]:
    """The columns of a clip from the faces of its frames, float32 [faces, 5] each."""
    counts = np.array([len(found) for found in faces])
    boxes = np.clip(np.concatenate(faces)[:, :4].astype(np.float64), 0, 1)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return {
        "faces": int(counts.max()),
        "face_share": round(float(areas.max(initial=0.0)), 4),
        "face_frames_share": round(float((counts > 0).mean()), 4),
    }
