"""One vector per clip, by which near-duplicates are found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from hpc_curate.clips.batches import per_clip
from hpc_curate.clips.embeddings import MODELS, identity
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io.tables import sha256_of_weights
from hpc_curate.stage import Clip, Item, Resources, Scorer, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

Embedder = Callable[[np.ndarray], np.ndarray]  # uint8 [N, H, W, 3] -> float32 [N, D]


@dataclass(frozen=True)
class Embed(Scorer):
    """The mean of the unit-length features of a clip's frames, of unit length itself, as float16.

    Columns: `embedding`, fixed_size_list<float16>[dimensions]; `embedding_model`, which `clips.embeddings` explains:
    vectors are compared only where it is the same. Tables: `embedding_models`, the same in full, once per batch;
    with `per_frame`, `frame_embeddings`, the features of each frame, of unit length.
    """

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 2

    frames_per_clip: int = 4
    model: Literal["efficientnet", "open_clip", "sscd"] = "efficientnet"
    architecture: str | None = None  # of open_clip: ViT-B-32@openai names the weights that are meant
    weights_path: str | None = None  # of open_clip and sscd: a local file
    dimensions: int | None = None  # of open_clip; the others know their own
    per_frame: bool = False  # also keep the vector of every frame that was looked at

    def __post_init__(self) -> None:
        if self.model != "efficientnet" and self.weights_path is None:
            raise ValueError(f"model={self.model} needs weights_path, a local file")
        if self.model == "open_clip" and (self.architecture is None or self.dimensions is None):
            raise ValueError("model=open_clip needs architecture and dimensions, such as ViT-B-32@openai and 512")

    def writes(self) -> dict[str, pa.Schema]:
        columns = [
            ("clip_id", pa.string()),
            ("embedding", pa.list_(pa.float16(), self._dimensions())),
            ("embedding_model", pa.string()),
            ("error", pa.string()),
        ]
        tables = {"rows": pa.schema(columns), "embedding_models": MODELS}
        if self.per_frame:
            vector = ("frame_embedding", pa.list_(pa.float16(), self._dimensions()))
            tables["frame_embeddings"] = pa.schema([("clip_id", pa.string()), ("time_s", pa.float64()), vector])
        return tables

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

    def process(self, model: Embedder, inputs: Inputs, item: Item) -> Tables:
        rows, schemas = self.scores(model, inputs, item), self.writes()
        about = self.about()
        for row in rows:
            row["embedding_model"] = about["embedding_model"] if "embedding" in row else None
        found = {"rows": rows, "embedding_models": [about]}
        if self.per_frame:
            found["frame_embeddings"] = [
                {"clip_id": row["clip_id"], "time_s": time_s, "frame_embedding": vector}
                for row in rows
                for time_s, vector in zip(row.get("times_s", ()), row.get("vectors", ()), strict=True)
            ]
        return {name: pa.Table.from_pylist(found[name], schema=schemas[name]) for name in schemas}

    def about(self) -> dict[str, Any]:
        """What made the vectors: a row of `clips.embeddings.MODELS`."""
        if self.model == "open_clip":
            normalisation = self._module("open_clip_image").normalisation(self.architecture)
        else:
            normalisation = self._module(self.model).NORMALISATION
        name = f"{self.model}:{self.architecture}" if self.architecture else self.model
        checksum = sha256_of_weights(self.weights()[0])
        return {
            "embedding_model": identity(name, checksum, normalisation),
            "name": name,
            "weights_sha256": checksum,
            "normalisation": normalisation,
            "dimensions": self._dimensions(),
        }

    def score(self, model: Embedder, clips: Sequence[Clip]) -> list[dict[str, Any] | BadInput]:
        features = per_clip(model, clips)
        return [self._scores_of(clip, part) for clip, part in zip(clips, features, strict=True)]

    def _scores_of(self, clip: Clip, features: np.ndarray) -> dict[str, Any] | BadInput:
        """The columns of one clip from the features of its frames, float32 [N, D]."""
        if features.shape[1] != self._dimensions():
            raise ConfigError(
                f"stage.embed.dimensions is {self._dimensions()}, but {self.model} gives {features.shape[1]}"
            )
        lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            return BadInput("the features of a frame are not finite")
        if not lengths.all():
            return BadInput("the features of a frame are all zero: it has no direction")
        vectors = features / lengths
        mean = vectors.mean(axis=0)
        length = np.linalg.norm(mean)
        if not length:
            return BadInput("the features of the frames cancel out")
        frames = {"vectors": vectors.astype(np.float16), "times_s": clip.times_s} if self.per_frame else {}
        return {"embedding": (mean / length).astype(np.float16), **frames}

    def _dimensions(self) -> int:
        return int(self.dimensions or self._module(self.model).DIMENSIONS)

    @staticmethod
    def _module(name: str) -> Any:
        return importlib.import_module(f"hpc_curate.models.{name}")
