"""How useful a clip is for training: one number from all scores, without a look at any frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.clips.rules import Rule, columns, parse
from hpc_curate.errors import ConfigError
from hpc_curate.learning import utility
from hpc_curate.stage import Derived, Resources

_DIGITS = 4


@dataclass(frozen=True)
class Utility(Derived):
    """The model that `hpc-curate utility fit` made of people's labels, or a blend of published bounds.

    The blend is no model: nobody's labels are in it. It is the mean, with equal weights, over the columns of `bounds`
    of how a clip stands to its bound b: v / (v + b) for a lower bound, b / (v + b) for an upper one, the smaller of
    the two where there are both. At the bound that is 1/2, at twice a lower bound 2/3. It ranks clips; it is no
    chance of anything. Columns without a value are left out of the mean.

    Column: `utility`, 4 digits. From a fitted model: the chance that a person calls the clip useful (labels of 0 and
    1), or the rating that a person would give. From the blend: 0 to 1.
    """

    name: ClassVar[str] = "utility"
    columns: ClassVar[pa.Schema] = pa.schema([("utility", pa.float32())])

    model_path: str | None = None  # of a file that hpc-curate utility fit wrote; null: the blend
    bounds: dict[str, Any] = field(default_factory=dict)  # of the blend, as rules of select: {min: 16}

    def __post_init__(self) -> None:
        if self.model_path is None:
            for name, rule in self._rules().items():
                if not any(bound is not None and bound > 0 for bound in (rule.min, rule.max)):
                    raise ConfigError(f"stage.utility.bounds.{name} needs min or max above 0")

    def _rules(self) -> dict[str, Rule]:
        rules = parse(self.bounds, percentiles=False)
        if not rules:
            raise ConfigError("stage.utility needs bounds or model_path; conf/utility/default.yaml has bounds")
        return rules

    def _model(self) -> utility.Utility | None:
        return None if self.model_path is None else utility.read(Path(self.model_path))

    def reads(self) -> tuple[str, ...]:
        model = self._model()
        return columns(model.columns if model else [rule.column for rule in self._rules().values()])

    def settings(self) -> dict[str, Any]:
        return {} if self.model_path is not None else {"bounds": self.bounds}

    def weights(self) -> Sequence[Path]:
        return [] if self.model_path is None else [Path(self.model_path)]

    def load(self, resources: Resources) -> utility.Utility | None:
        return self._model()

    def derive(self, model: utility.Utility | None, clips: pa.Table) -> pa.Table:
        found = self._blend(clips) if model is None else model.predict(utility.values_of(clips, model.columns))
        unknown = np.isnan(found)
        error = pa.array(["no column of the blend has a value"] * len(clips), pa.string(), mask=~unknown)
        return pa.table({"utility": pa.array(np.round(found, _DIGITS), pa.float32(), mask=unknown), "error": error})

    def _blend(self, clips: pa.Table) -> np.ndarray:
        """float64 [N], NaN where no column has a value."""
        rules = self._rules().values()
        values = np.maximum(utility.values_of(clips, [rule.column for rule in rules]), 0)
        parts = [standing(values[:, at], rule.min, rule.max) for at, rule in enumerate(rules)]
        known = [~np.isnan(part) for part in parts]
        total = np.sum([np.where(there, part, 0) for there, part in zip(known, parts, strict=True)], axis=0)
        count = np.sum(known, axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def standing(values: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """0 to 1 for values float64 [N] of 0 and above: 1/2 at the bound, more on its right side."""
    above = values / (values + low) if low else np.ones_like(values)
    below = high / (values + high) if high else np.ones_like(values)
    return np.where(np.isnan(values), np.nan, np.minimum(above, below))
