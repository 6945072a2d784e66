"""How likely a clip is not safe for work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from hpc_curate.clips.batches import per_clip
from hpc_curate.errors import BadInput
from hpc_curate.models import folders, open_nsfw, transformers_classifier
from hpc_curate.stage import Clip, Resources, Scorer


@dataclass(frozen=True)
class Safety(Scorer):
    """The chance that evenly spread frames are not safe for work, by a classifier.

    Columns: `nsfw_mean` and `nsfw_max` over the frames, 0 to 1 (4 digits). A rule on `nsfw_max` is the strict one: one
    frame is enough.

    model=open_nsfw is Yahoo's, whose weights travel in a package. Its authors call pictures below 0.2 safe and above
    0.8 not safe; in between it is for you to say. It finds nudity in photographs, and neither violence nor what is
    drawn. model=classifier is any image classifier of `transformers` in a local folder, such as that of Data-Juicer
    (Falconsai/nsfw_image_detection, kept up to 0.5); the score is the sum over `unsafe_labels`.
    """

    name: ClassVar[str] = "safety"
    columns: ClassVar[pa.Schema] = pa.schema([("nsfw_mean", pa.float64()), ("nsfw_max", pa.float64())])

    frames_per_clip: int = 4
    model: Literal["open_nsfw", "classifier"] = "open_nsfw"
    weights_path: str | None = None  # of classifier: a local folder
    unsafe_labels: tuple[str, ...] = ("nsfw",)  # of classifier

    def __post_init__(self) -> None:
        if (self.model == "classifier") != (self.weights_path is not None):
            raise ValueError("model=classifier and weights_path, a local folder, go together")

    def settings(self) -> dict[str, Any]:
        # The path of the weights is nobody's business but this machine's: their checksum counts.
        return {key: value for key, value in super().settings().items() if key != "weights_path"}

    def weights(self) -> Sequence[Path]:
        if self.weights_path is None:
            return [open_nsfw.weights()]
        return folders.files(self.weights_path, "stage.safety.weights_path")

    def load(self, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
        if self.weights_path is None:
            return open_nsfw.load(resources)
        return transformers_classifier.load(Path(self.weights_path), self.unsafe_labels, resources)

    def score(
        self, model: Callable[[np.ndarray], np.ndarray], clips: Sequence[Clip]
    ) -> list[dict[str, Any] | BadInput]:
        return [
            {"nsfw_mean": round(float(scores.mean(dtype=np.float64)), 4), "nsfw_max": round(float(scores.max()), 4)}
            for scores in per_clip(model, clips)
        ]
