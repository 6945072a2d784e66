"""One vector per clip, by which near-duplicates are found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.stage import Clip, Resources, Scorer

Embedder = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] -> float32 [N, D]


@dataclass(frozen=True)
class Embed(Scorer):
    """The mean of the unit-length features of a clip's frames, of unit length itself, as float16.

    Columns: `embedding`, fixed_size_list<float16>[dimensions]; `embedding_model`, so that a reader knows what the
    numbers mean and `dedup` which similarity is a duplicate.
    """

    name: ClassVar[str] = "embed"

    frames_per_clip: int = 4
    model: Literal["efficientnet", "open_clip", "sscd"] = "efficientnet"
    architecture: str | None = None  # of open_clip: ViT-B-32, or ViT-L-14@openai where normalisations differ
    weights_path: str | None = None  # of open_clip and sscd: a local file
    dimensions: int | None = None  # of open_clip; the others know their own

    def __post_init__(self) -> None:
        if self.model != "efficientnet" and self.weights_path is None:
            raise ValueError(f"model={self.model} needs weights_path, a local file")
        if self.model == "open_clip" and (self.architecture is None or self.dimensions is None):
            raise ValueError("model=open_clip needs architecture and dimensions, such as ViT-B-32 and 512")

    def writes(self) -> dict[str, pa.Schema]:
        columns = [
            ("clip_id", pa.string()),
            ("embedding", pa.list_(pa.float16(), self._dimensions())),
            ("embedding_model", pa.string()),
            ("error", pa.string()),
        ]
        return {"rows": pa.schema(columns)}

    def settings(self) -> dict[str, Any]:
        # The path of the weights is nobody's business but this machine's: their checksum counts.
        return {key: value for key, value in super().settings().items() if key != "weights_path"}

    def weights(self) -> Sequence[Path]:
        if self.weights_path is None:
            return [self._module("efficientnet").WEIGHTS]
        path = Path(self.weights_path)
        if not path.is_file():
            raise ConfigError(f"stage.embed.weights_path={path}: no such file; models are read from local files only")
        return [path]

    def load(self, resources: Resources) -> Embedder:
        if self.model == "efficientnet":
            return self._module("efficientnet").load(resources)
        path = Path(str(self.weights_path))
        if self.model == "sscd":
            return self._module("sscd").load(path, resources)
        return self._module("open_clip_image").load(self.architecture, path, resources)

    def score(self, model: Embedder, clips: Sequence[Clip]) -> list[dict[str, Any] | BadInput]:
        vectors: list[np.ndarray | BadInput] = []
        for batch in _of_one_size(clips):
            features = model(np.concatenate([clip.frames for clip in batch]))
            ends = np.cumsum([len(clip.frames) for clip in batch])[:-1]
            vectors += [self._mean(part) for part in np.split(features, ends)]
        return [
            vector if isinstance(vector, BadInput) else {"embedding": vector, "embedding_model": self._model_name()}
            for vector in vectors
        ]

    def _mean(self, features: np.ndarray) -> np.ndarray | BadInput:
        """float16 [D] from the features of one clip's frames, float32 [N, D]."""
        if features.shape[1] != self._dimensions():
            raise ConfigError(
                f"stage.embed.dimensions is {self._dimensions()}, but {self._model_name()} gives {features.shape[1]}"
            )
        lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            return BadInput("the features of a frame are not finite")
        if not lengths.all():
            return BadInput("the features of a frame are all zero: it has no direction")
        mean = (features / lengths).mean(axis=0)
        length = np.linalg.norm(mean)
        return (mean / length).astype(np.float16) if length else BadInput("the features of the frames cancel out")

    def _dimensions(self) -> int:
        return int(self.dimensions or self._module(self.model).DIMENSIONS)

    def _model_name(self) -> str:
        return f"{self.model}:{self.architecture}" if self.architecture else self.model

    @staticmethod
    def _module(name: str) -> Any:
        return importlib.import_module(f"hpc_curate.models.{name}")


def _of_one_size(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Neighbours whose frames have the same size, so that they go through the model together; order is kept."""
    batch: list[Clip] = []
    for clip in clips:
        if batch and clip.frames.shape[1:] != batch[0].frames.shape[1:]:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch
