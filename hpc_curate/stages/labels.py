"""Labels without any training: which of some texts is nearest to a clip, by an open_clip model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.embeddings import refuse_other, vectors
from hpc_curate.errors import ConfigError
from hpc_curate.learning.linear import softmax
from hpc_curate.stage import Derived, Resources
from hpc_curate.stages.embed import Embed
from hpc_curate.stages.probe import chosen, chosen_columns

Taxonomy = dict[str, dict[str, Sequence[str]]]  # question -> label -> texts


@dataclass(frozen=True)
class Prompts:
    """The texts as vectors, and whose."""

    embedding_model: str  # clips.embeddings
    vectors: dict[str, np.ndarray]  # by question: float32 [labels, D], of length one
    scale: float  # what a cosine is multiplied by before the softmax


@dataclass(frozen=True)
class Labels(Derived):
    """Zero-shot classification as CLIP's authors did it (Radford et al. 2021, arXiv 2103.00020, section 3.1).

    Each label's texts are set into each template; the mean of their vectors stands for the label. The chances are
    the softmax over the labels of one question, with the scale that the model was trained with.

    Columns for each question of the taxonomy: NAME, the likeliest label, and NAME_probability, its chance among these
    labels, 4 digits: it says nothing of labels that nobody asked about. Lists of what is allowed and forbidden are
    rules of select: `medium: {forbidden: [game, animation]}`.

    Stage embed must have used the same model: name, weights and normalisation.
    """

    name: ClassVar[str] = "labels"

    architecture: str | None = None  # as of stage embed, such as ViT-B-32
    weights_path: str | None = None  # as of stage embed
    taxonomy: dict[str, Any] = field(default_factory=dict)  # question: {label: text or texts}; conf/taxonomy
    templates: tuple[str, ...] = ("a video frame of {}.", "a photo of {}.", "{}.")

    def __post_init__(self) -> None:
        if self.architecture is None or self.weights_path is None:
            raise ConfigError("stage.labels needs stage.embed.model=open_clip, and its architecture and weights_path")
        if any("{}" not in template for template in self.templates) or not self.templates:
            raise ConfigError("stage.labels.templates: each needs {} where the text goes")
        for question, labels in self._questions().items():
            if len(labels) < 2:
                raise ConfigError(f"stage.labels.taxonomy.{question} has {len(labels)} labels; it needs two at least")

    def _questions(self) -> Taxonomy:
        if not self.taxonomy:
            raise ConfigError("stage.labels.taxonomy is empty; taxonomy=default has one")
        return {
            question: {label: [texts] if isinstance(texts, str) else list(texts) for label, texts in labels.items()}
            for question, labels in self.taxonomy.items()
            if labels is not None
        }

    def _embed(self) -> Embed:
        """The stage whose vectors are the right ones."""
        return Embed(model="open_clip", architecture=self.architecture, weights_path=self.weights_path, dimensions=1)

    def reads(self) -> tuple[str, ...]:
        return ("embedding", "embedding_model")

    def writes(self) -> dict[str, pa.Schema]:
        columns = [column for question in self._questions() for column in chosen_columns(question)]
        return {"rows": pa.schema([("clip_id", pa.string()), *columns, ("error", pa.string())])}

    def settings(self) -> dict[str, Any]:
        own = dataclasses.asdict(self)
        del own["weights_path"]
        # Pairs, because of two equally near labels the first is taken.
        own["taxonomy"] = [[question, list(labels.items())] for question, labels in self._questions().items()]
        return own

    def weights(self) -> Sequence[Path]:
        return self._embed().weights()

    def load(self, resources: Resources) -> Prompts:
        from hpc_curate.models import open_clip_text

        tower = open_clip_text.load(str(self.architecture), Path(str(self.weights_path)), resources)
        found = {
            question: np.stack([self._direction(tower.encode(self._texts(texts))) for texts in labels.values()])
            for question, labels in self._questions().items()
        }
        return Prompts(self._embed().about()["embedding_model"], found, tower.scale)

    def _texts(self, texts: Sequence[str]) -> list[str]:
        return [template.replace("{}", text) for text in texts for template in self.templates]

    @staticmethod
    def _direction(vectors: np.ndarray) -> np.ndarray:
        mean = vectors.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def derive(self, model: Prompts, clips: pa.Table) -> pa.Table:
        refuse_other("stage.labels", model.embedding_model, clips["embedding_model"])
        rows, found = vectors(clips["embedding"])
        chances = {
            question: (list(labels), softmax(model.scale * found.astype(np.float64) @ model.vectors[question].T))
            for question, labels in self._questions().items()
        }
        return chosen(len(clips), rows, chances)
