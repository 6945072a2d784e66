"""How likely a clip is not safe for work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.batches import per_clip
from hpc_curate.errors import BadInput
from hpc_curate.models import open_nsfw
from hpc_curate.stage import Clip, Resources, Scorer


@dataclass(frozen=True)
class Safety(Scorer):
    """Yahoo's open_nsfw on evenly spread frames.

    Columns: `nsfw_mean` and `nsfw_max` over the frames, 0 to 1 (4 digits). The authors call pictures below 0.2 safe and
    above 0.8 not safe with high confidence; in between it is for you to say. A rule on `nsfw_max` is the strict one:
    one frame is enough. It finds nudity in photographs; nothing here finds violence, hate or what is drawn.
    """

    name: ClassVar[str] = "safety"
    columns: ClassVar[pa.Schema] = pa.schema([("nsfw_mean", pa.float64()), ("nsfw_max", pa.float64())])

    frames_per_clip: int = 4

    def weights(self) -> Sequence[Path]:
        return [open_nsfw.weights()]

    def load(self, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
        return open_nsfw.load(resources)

    def score(
        self, model: Callable[[np.ndarray], np.ndarray], clips: Sequence[Clip]
    ) -> list[dict[str, Any] | BadInput]:
        return [
            {"nsfw_mean": round(float(scores.mean(dtype=np.float64)), 4), "nsfw_max": round(float(scores.max()), 4)}
            for scores in per_clip(model, clips)
        ]
