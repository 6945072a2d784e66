"""A linear probe: which of a few labels a clip has, from its embedding. Its file is JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.learning.linear import Linear, fit_logistic, softmax

FORMAT = "hpc_curate probe 1"


@dataclass(frozen=True)
class Probe:
    """The fitted model."""

    labels: tuple[str, ...]
    embedding_model: str  # clips.embeddings: whose vectors it is for
    linear: Linear

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Chances float64 [N, labels] from vectors float [N, D]."""
        return softmax(self.linear.scores(vectors.astype(np.float64)))


def fit(vectors: np.ndarray, classes: np.ndarray, count: int, l2: float) -> Linear:
    """Logistic regression on vectors float [N, D] around their mean, in units of their mean deviation.

    One unit for all dimensions: what directions weigh in an embedding is part of what it says.
    """
    x = vectors.astype(np.float64)
    mean = x.mean(axis=0)
    unit = max(float(np.sqrt(((x - mean) ** 2).mean())), 1e-12)
    found = fit_logistic((x - mean) / unit, classes, count, l2)
    return Linear(found.weights / unit, found.intercepts - found.weights @ mean / unit)


def as_json(probe: Probe, fitted: Mapping[str, Any]) -> str:
    """The file; `fitted` says on what, and how good it was."""
    whole = {
        "format": FORMAT,
        "labels": list(probe.labels),
        "embedding_model": probe.embedding_model,
        "fitted": dict(fitted),
        "intercepts": _short(probe.linear.intercepts),
        "weights": [_short(row) for row in probe.linear.weights],
    }
    return json.dumps(whole) + "\n"


def _short(row: np.ndarray) -> Sequence[float]:
    return [float(f"{value:.7g}") for value in row]


def read(path: Path) -> Probe:
    """A probe from its file.

    Raises:
        ConfigError: no such file, or not one of ours.
    """
    try:
        whole = json.loads(path.read_text())
        if whole["format"] != FORMAT:
            raise ValueError(f"format {whole['format']!r}")
        linear = Linear(np.array(whole["weights"], np.float64), np.array(whole["intercepts"], np.float64))
        if not linear.weights.ndim == 2 or {*map(len, (linear.weights, linear.intercepts))} != {len(whole["labels"])}:
            raise ValueError("weights, intercepts and labels do not belong together")
        return Probe(tuple(whole["labels"]), str(whole["embedding_model"]), linear)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no probe of hpc-curate probe fit: {error}") from error
