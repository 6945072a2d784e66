"""How useful a clip is for training, from its columns: a linear model of what people said, in a small readable JSON.

Labels of 0 and 1 give a logistic regression, whose number is a chance; other numbers give a ridge regression, whose
number is in the unit of the labels. Columns are standardised; a value that is missing stands for the mean, and where
values were missing in the labels too, being missing has a weight of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import registry
from hpc_curate.clips.rules import column
from hpc_curate.errors import ConfigError
from hpc_curate.learning.linear import Linear, fit_logistic, fit_ridge

FORMAT = "hpc_curate utility 1"
LOGISTIC, RIDGE = "logistic", "ridge"
_DIGITS = 9  # of a weight


@dataclass(frozen=True)
class Feature:
    """A column, and what it adds to the score: weight * (value - mean) / deviation, or `weight_missing`."""

    column: str
    made_by: str  # such as "measure motion 2": kind, name and version of what computes it
    mean: float
    deviation: float
    weight: float
    weight_missing: float  # where there is no value
    missing: int  # clips without one, of those that it was fitted on


@dataclass(frozen=True)
class Utility:
    """The fitted model."""

    kind: str  # logistic or ridge
    intercept: float
    features: tuple[Feature, ...]

    @property
    def columns(self) -> list[str]:
        return [feature.column for feature in self.features]

    def predict(self, values: np.ndarray) -> np.ndarray:
        """float64 [N] from values float64 [N, columns], NaN where there is none."""
        score = np.full(len(values), self.intercept)
        for at, feature in enumerate(self.features):
            known = feature.weight * (values[:, at] - feature.mean) / feature.deviation
            score += np.where(np.isnan(known), feature.weight_missing, known)
        return 1 / (1 + np.exp(-score)) if self.kind == LOGISTIC else score


def values_of(clips: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """float64 [N, columns]: numbers, and truth values as 0 and 1; NaN where there is none.

    Raises:
        ConfigError: there is no such column, or it holds no numbers.
    """
    found = np.full((len(clips), len(columns)), np.nan)
    for at, name in enumerate(columns):
        values = column(clips, name)
        if not is_number(values.type):
            raise ConfigError(f"utility: column '{name}' holds {values.type}, not numbers")
        numbers = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
        found[:, at] = pc.fill_null(numbers.cast(pa.float64(), safe=False), float("nan")).to_numpy()
    return found


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type can be part of the score."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def fit(values: np.ndarray, labels: np.ndarray, makers: Mapping[str, str], l2: float) -> Utility:
    """The model of these clips; columns that are the same for all of them are left out.

    Args:
        values: float64 [N, columns], in the order of `makers`, which says of each column what made it.
        labels: float64 [N].
    """
    means, deviations = _moments(values)
    used = np.flatnonzero(deviations > 0)
    absent = np.isnan(values[:, used])
    standard = np.where(absent, 0.0, (values[:, used] - means[used]) / deviations[used])
    marked = np.flatnonzero(absent.any(axis=0))
    x = np.column_stack([standard, absent[:, marked].astype(np.float64)])
    kind = LOGISTIC if set(np.unique(labels)) <= {0.0, 1.0} else RIDGE
    found = _binary(x, labels, l2) if kind == LOGISTIC else fit_ridge(x, labels, l2)
    of_missing = dict(zip(marked.tolist(), found.weights[0, len(used) :].tolist(), strict=True))
    names = list(makers)
    features = tuple(
        Feature(
            column=names[which],
            made_by=makers[names[which]],
            mean=float(f"{means[which]:.{_DIGITS}g}"),
            deviation=float(f"{deviations[which]:.{_DIGITS}g}"),  # it may be tiny, and is divided by
            weight=round(float(found.weights[0, at]), _DIGITS),
            weight_missing=round(of_missing.get(at, 0.0), _DIGITS),
            missing=int(absent[:, at].sum()),
        )
        for at, which in enumerate(used.tolist())
    )
    return Utility(kind, round(float(found.intercepts[0]), _DIGITS), features)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column's known values; 0 where there are none or they are all alike."""
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, values, 0).sum(axis=0) / counts
    deviations = np.sqrt((np.where(known, values - means, 0) ** 2).sum(axis=0) / counts)
    # What is left of a constant after rounding is no deviation.
    return means, np.where(deviations > 1e-9 * np.maximum(np.abs(means), 1), deviations, 0.0)


def _binary(x: np.ndarray, labels: np.ndarray, l2: float) -> Linear:
    """The two classes as one score: for these weights the penalty is l2 / 4 times their square."""
    both = fit_logistic(x, labels.astype(np.int64), 2, l2)
    return Linear(both.weights[1:] - both.weights[:1], both.intercepts[1:] - both.intercepts[:1])


def as_json(model: Utility, fitted: Mapping[str, Any]) -> str:
    """The file; `fitted` says on what, and how good it was."""
    whole = {"format": FORMAT, **asdict(model), "fitted": dict(fitted)}
    return json.dumps(whole, indent=1) + "\n"


def read(path: Path) -> Utility:
    """A model from its file.

    Raises:
        ConfigError: no such file, not one of ours, or a column is made by another version than it was fitted on.
    """
    try:
        whole = json.loads(path.read_text())
        if whole["format"] != FORMAT or whole["kind"] not in (LOGISTIC, RIDGE):
            raise ValueError(f"format {whole['format']!r}, kind {whole['kind']!r}")
        features = tuple(Feature(**feature) for feature in whole["features"])
        model = Utility(whole["kind"], float(whole["intercept"]), features)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no model of hpc-curate utility fit: {error}") from error
    for feature in model.features:
        kind, name, version = feature.made_by.split()
        now = registry.load(kind, name).version
        if int(version) != now:
            raise ConfigError(
                f"{path} was fitted on {feature.column} of {feature.made_by}, this is {now}; fit it again"
            )
    return model
