"""`utility fit` and `probe fit`: from a table of labels and a run to a file of weights, with honest figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hpc_curate import __version__
from hpc_curate.clips.embeddings import one_model, vectors
from hpc_curate.errors import ConfigError
from hpc_curate.learning import figures, folds, linear, probe, utility
from hpc_curate.learning.figures import Bin
from hpc_curate.learning.labels import Labels
from hpc_curate.learning.linear import Linear
from hpc_curate.plan import Plan
from hpc_curate.records import video_of
from hpc_curate.run_folder.lookup import columns_of
from hpc_curate.stage import Merge, PerClip, Stage

# Where a clip lies in its video, or what of the picture is left, says nothing of its worth.
_PLACES = {"start_pts", "end_pts", "start_s", "end_s", "crop_x", "crop_y"}

WITHOUT_EMBEDDING = "the gate rejected it, or embed failed on it or has not come to it"


@dataclass(frozen=True)
class Settings:
    """How to fit, and how to try."""

    l2: float = 1.0  # penalty on squared weights, of all clips together
    folds: int = 5

    def __post_init__(self) -> None:
        if self.l2 <= 0:
            raise ConfigError(f"l2={self.l2} must be above 0")


@dataclass(frozen=True)
class Fitted:
    """What came of it."""

    file: str  # of the weights, as JSON
    figures: dict[str, Any]
    bins: list[Bin]
    features: tuple[utility.Feature, ...] = ()

    @property
    def doubts(self) -> list[str]:
        """In which figures it is no better than what needs no model: the same answer for every clip."""
        return [
            f"{name} {self.figures[name]:.3f}, {than} {self.figures[than]:.3f}"
            for name, than in _BASELINES.items()
            if name in self.figures and not _better(self.figures[name], self.figures[than], name)
        ]


# What the same answer for every clip would reach: the shares of the labels as chances, the likeliest label, the mean.
_BASELINES = {
    "brier": "brier_of_the_shares",
    "accuracy": "accuracy_of_the_likeliest",
    "rmse": "rmse_of_the_mean",
}


def _better(value: float, baseline: float, name: str) -> bool:
    return value > baseline if name == "accuracy" else value < baseline


def fit_utility(plan: Plan, labels: Labels, columns: Sequence[str] | None, settings: Settings) -> Fitted:
    """Columns to labels.

    Args:
        columns: the only ones that may be used; None: every score of the run.

    Raises:
        ConfigError: a column cannot be used, or the labels are too few or of too few videos.
    """
    makers = {name: maker for name, maker in scores(plan).items() if columns is None or name in columns}
    if unknown := sorted(set(columns or ()) - set(makers)):
        raise ConfigError(f"{', '.join(unknown)}: no score of this run; there are {', '.join(scores(plan))}")
    clips = columns_of(plan, labels.ids, ["start_pts", *makers])
    rows = _there(clips["start_pts"], labels)
    there = labels.among(rows)
    values, wanted = utility.values_of(clips.take(rows), list(makers)), there.numbers()
    if len(np.unique(wanted)) < 2:
        raise ConfigError("all labels are the same; there is nothing to learn")

    def on(some: np.ndarray) -> utility.Utility:
        return utility.fit(values[some], wanted[some], makers, settings.l2)

    def without(some: np.ndarray) -> folds.Predict:
        model = on(some)
        used = [list(makers).index(name) for name in model.columns]
        return lambda mine: model.predict(values[mine][:, used])

    model = on(np.arange(len(wanted)))
    logistic = model.kind == utility.LOGISTIC
    classes = wanted.astype(np.int64) if logistic else np.zeros(len(wanted), np.int64)
    fold = folds.by_video(there.videos(), classes, settings.folds)
    predicted = folds.out_of_fold(fold, without)
    bins = figures.reliability(predicted, wanted)
    found = _of_chances(predicted, classes, bins) if logistic else _of_ratings(predicted, wanted)
    found |= {"plcc": figures.correlation(predicted, wanted), **_counted(labels, there, fold, len(rows))}
    return Fitted(utility.as_json(model, _about(settings, found, bins)), found, bins, model.features)


def fit_probe(plan: Plan, labels: Labels, settings: Settings) -> Fitted:
    """Embeddings to labels.

    The scores are divided by one temperature, fitted to scores of clips whose video was not seen. The figures are of
    clips that had no part in their temperature either.

    Raises:
        ConfigError: the labels are too few or of too few videos, or the run has embeddings of several models.
    """
    clips = columns_of(plan, labels.ids, ["start_pts", "embedding", "embedding_model"])
    known, rows = _there(clips["start_pts"], labels), np.flatnonzero(np.asarray(clips["embedding"].is_valid()))
    if not len(rows):
        raise ConfigError(f"none of the {len(known)} labelled clips of this run has an embedding ({WITHOUT_EMBEDDING})")
    there, clips = labels.among(rows), clips.take(rows)
    _, x = vectors(clips["embedding"])
    names, classes = np.unique(np.array(there.texts), return_inverse=True)
    if len(names) < 2:
        raise ConfigError(f"every label is {there.texts[0]!r}; a probe tells at least two apart")

    def on(some: np.ndarray) -> Linear:
        return probe.fit(x[some], classes[some], len(names), settings.l2)

    def without(some: np.ndarray) -> folds.Predict:
        model = on(some)
        return lambda mine: model.scores(x[mine])

    def cooled(some: np.ndarray) -> folds.Predict:
        by = linear.temperature(scored[some], classes[some])
        return lambda mine: scored[mine] / by

    fold = folds.by_video(there.videos(), classes, settings.folds)
    scored = folds.out_of_fold(fold, without)
    chances = linear.softmax(folds.out_of_fold(fold, cooled))
    whole, by = on(np.arange(len(classes))), linear.temperature(scored, classes)
    found, bins = _of_choices(chances, classes)
    _, uncooled = _of_choices(linear.softmax(scored), classes)
    found |= {"calibration_error_without_temperature": figures.calibration_error(uncooled), "temperature": by}
    found |= _counted(labels, there, fold, len(known))
    found |= {"labels_of_clips_without_embedding": len(known) - len(rows)}
    found |= {f"clips_of_{name}": int((classes == at).sum()) for at, name in enumerate(names)}
    made_for = str(one_model(clips["embedding_model"]))
    model = probe.Probe(tuple(names.tolist()), made_for, Linear(whole.weights / by, whole.intercepts / by))
    return Fitted(probe.as_json(model, _about(settings, found, bins)), found, bins)


def scores(plan: Plan) -> dict[str, str]:
    """The columns of numbers that clips have before they are compared or selected, each with what makes it."""
    found = {}
    for name, step in plan.steps.items():
        if isinstance(step.stage, Merge) or name == "utility":
            break
        if name == plan.writers.get("start_pts") or isinstance(step.stage, PerClip):
            for field in step.stage.writes()["rows"]:
                if utility.is_number(field.type) and field.name not in _PLACES:
                    found[field.name] = _maker(step.stage, field.name)
    return found


def _maker(stage: Stage, column: str) -> str:
    """Kind, name and version of the stage, or of the measure inside it, that computes a column."""
    for part in stage.parts()[1:]:
        if column in getattr(part, "columns", pa.schema([])).names:
            return f"measure {part.name} {part.version}"
    return f"stage {stage.name} {stage.version}"


def _there(column: pa.ChunkedArray, labels: Labels) -> np.ndarray:
    """int64: the labels whose clip is in the run.

    Raises:
        ConfigError: none is.
    """
    rows = np.flatnonzero(np.asarray(column.is_valid()))
    if not len(rows):
        raise ConfigError(f"none of the {len(labels.ids)} labelled clips is in this run, such as {labels.ids[0]}")
    return rows


def _of_chances(predicted: np.ndarray, classes: np.ndarray, bins: Sequence[Bin]) -> dict[str, Any]:
    chances = np.column_stack([1 - predicted, predicted])
    return {
        "auc": figures.auc(predicted, classes == 1),
        **_brier(chances, classes),
        "log_loss": figures.log_loss(chances, classes),
        "calibration_error": figures.calibration_error(bins),
        "useful_share": float(classes.mean()),
    }


def _of_ratings(predicted: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    return {
        "srcc": figures.correlation(figures.ranks(predicted), figures.ranks(wanted)),
        "rmse": float(np.sqrt(((predicted - wanted) ** 2).mean())),
        "rmse_of_the_mean": float(wanted.std()),
    }


def _of_choices(chances: np.ndarray, classes: np.ndarray) -> tuple[dict[str, Any], list[Bin]]:
    """How good chances [N, K] are; the bins are those of the likeliest label."""
    right = chances.argmax(axis=1) == classes
    bins = figures.reliability(chances.max(axis=1), right.astype(np.float64))
    each = [figures.auc(chances[:, at], classes == at) for at in range(chances.shape[1])]
    return {
        "accuracy": float(right.mean()),
        "accuracy_of_the_likeliest": float(np.bincount(classes).max() / len(classes)),
        "auc": float(np.mean([value for value in each if value is not None])),  # each label against the rest
        **_brier(chances, classes),
        "log_loss": figures.log_loss(chances, classes),
        "calibration_error": figures.calibration_error(bins),
    }, bins


def _brier(chances: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    shares = np.bincount(classes, minlength=chances.shape[1]) / len(classes)
    return {
        "brier": figures.brier(chances, classes),
        "brier_of_the_shares": figures.brier(np.broadcast_to(shares, chances.shape), classes),
    }


def _counted(labels: Labels, there: Labels, fold: np.ndarray, known: int) -> dict[str, Any]:
    """How many labels were used, and how many were not.

    Args:
        known: labels whose clip is in the run.
    """
    # A whole video that was rejected for one of its clips says nothing of the others.
    of_videos = sum(one == video_of(one) for one in labels.ids)
    return {
        "clips": len(there.ids),
        "videos": len(set(there.videos())),
        "folds": int(fold.max()) + 1,
        "labels_of_no_clip": len(labels.ids) - known - of_videos,
        "labels_of_whole_videos": of_videos,
    }


def _about(settings: Settings, found: dict[str, Any], bins: Sequence[Bin]) -> dict[str, Any]:
    return {
        "hpc_curate": __version__,
        "l2": settings.l2,
        "figures_by": "cross-validation by source video",
        "figures": {name: round(value, 6) if isinstance(value, float) else value for name, value in found.items()},
        "reliability": [asdict(each) for each in bins],
    }
