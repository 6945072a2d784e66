"""Labels from linear probes over embeddings, as `hpc-curate probe fit` made them from people's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.embeddings import refuse_other, vectors
from hpc_curate.errors import ConfigError
from hpc_curate.learning import probe
from hpc_curate.stage import Derived, Resources

_DIGITS = 4

Probes = dict[str, probe.Probe]  # by the column that it writes


@dataclass(frozen=True)
class ProbeStage(Derived):
    """Any number of probes, each over the same embeddings.

    Columns for each name in `paths`: NAME, the likeliest label, and NAME_probability, its chance, 4 digits. They are
    for rules of select, such as `style: {forbidden: [animation]}`, for quotas, and for the sample's json.
    A probe is refused where the embeddings are of another model, weights or normalisation than it was fitted on.
    """

    name: ClassVar[str] = "probe"

    paths: dict[str, str] = field(default_factory=dict)  # name: file of hpc-curate probe fit

    def __post_init__(self) -> None:
        if not self.paths:
            raise ConfigError("stage.probe has no probe; +stage.probe.paths.style=style.json adds one")

    def reads(self) -> tuple[str, ...]:
        return ("embedding", "embedding_model")

    def writes(self) -> dict[str, pa.Schema]:
        columns = [column for name in self.paths for column in chosen_columns(name)]
        return {"rows": pa.schema([("clip_id", pa.string()), *columns, ("error", pa.string())])}

    def settings(self) -> dict[str, Any]:
        return {"names": sorted(self.paths)}

    def weights(self) -> Sequence[Path]:
        for path in self.paths.values():
            if not Path(path).is_file():
                raise ConfigError(f"stage.probe.paths: {path}: no such file")
        return [Path(self.paths[name]) for name in sorted(self.paths)]

    def load(self, resources: Resources) -> Probes:
        return {name: probe.read(Path(path)) for name, path in self.paths.items()}

    def derive(self, model: Probes, clips: pa.Table) -> pa.Table:
        rows, found = vectors(clips["embedding"])
        chances = {}
        for name, each in model.items():
            refuse_other(f"{self.paths[name]} of stage.probe", each.embedding_model, clips["embedding_model"])
            chances[name] = (each.labels, each.predict(found))
        return chosen(len(clips), rows, chances)


def chosen_columns(name: str) -> list[tuple[str, pa.DataType]]:
    """What is written of one question: the likeliest label, and how likely it is."""
    return [(name, pa.string()), (f"{name}_probability", pa.float32())]


def chosen(count: int, rows: np.ndarray, chances: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> pa.Table:
    """The likeliest label of each question, and its chance.

    Args:
        count: clips. rows: int64 [N], those that have an embedding; the others get an error.
        chances: by question, its labels and float [N, labels].
    """
    absent = np.ones(count, dtype=bool)
    absent[rows] = False
    table = pa.table({"error": pa.array(["there is no embedding of it"] * count, pa.string(), mask=~absent)})
    for name, (labels, each) in chances.items():
        first, share = np.zeros(count, np.int64), np.zeros(count)
        first[rows], share[rows] = each.argmax(axis=1), np.round(each.max(axis=1), _DIGITS)
        table = table.append_column(name, pa.array(labels).take(pa.array(first, mask=absent)))
        table = table.append_column(f"{name}_probability", pa.array(share, pa.float32(), mask=absent))
    return table
