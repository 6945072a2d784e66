"""What `hpc-curate utility fit` and `hpc-curate probe fit` do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.io import tables
from hpc_curate.learning import labels, page
from hpc_curate.learning.fitting import WITHOUT_EMBEDDING, Fitted, Settings, fit_probe, fit_utility
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.report.text import aligned
from hpc_curate.stage import Merge

_SHOWN = 12  # weights, in the terminal


def utility(given: argparse.Namespace) -> int:
    """Fit the number of stage utility to people's labels."""
    plan = plans.load_latest(given.run, given.plan)
    columns = given.columns.split(",") if given.columns else None
    found = fit_utility(plan, labels.read(given.labels, given.label), columns, Settings(given.l2, given.folds))
    _publish(given.output, f"Utility: {given.label} of {given.labels.name}", found)
    strongest = sorted(found.features, key=lambda one: -abs(one.weight))[:_SHOWN]
    print(aligned([["weight of one deviation", ""], *([one.column, f"{one.weight:+.3f}"] for one in strongest)]))
    print()
    _recommend(found, plan, "utility", f"stage.utility.model_path={given.output}")
    return 0


def probe(given: argparse.Namespace) -> int:
    """Fit labels to embeddings, for stage probe."""
    plan = plans.load_latest(given.run, given.plan)
    found = fit_probe(plan, labels.read(given.labels, given.label), Settings(given.l2, given.folds))
    _publish(given.output, f"Probe: {given.label} of {given.labels.name}", found)
    _recommend(found, plan, "probe", f"+stage.probe.paths.{given.label}={given.output}")
    return 0


def _recommend(found: Fitted, plan: Plan, stage: str, setting: str) -> None:
    """What to type next, unless the same answer for every clip is as good."""
    if doubts := found.doubts:
        print(f"no better than the same answer for every clip ({'; '.join(doubts)}): do not use it yet;")
        print("label more clips, of more videos, and fit again")
        return
    stages = list(plan.steps)
    if stage not in stages:
        merges = [at for at, name in enumerate(stages) if isinstance(plan.steps[name].stage, Merge)]
        stages.insert(min(merges, default=len(stages)), stage)
        setting = f"stage=[{','.join(stages)}] {setting}"
    print(f"use it: hpc-curate run … {setting}")


def _publish(output: Path, title: str, found: Fitted) -> None:
    """The weights, and beside them a page that says how good they are; the figures also on the terminal.

    Raises:
        ConfigError: the name is not that of a JSON file, or it cannot be written.
    """
    if output.suffix != ".json":
        raise ConfigError(f"--output {output}: the weights are JSON; the name must end in .json")
    figures = _in_words(found.figures)
    weights = [[f.column, f.made_by, f"{f.weight:+.4f}", f"{f.weight_missing:+.4f}"] for f in found.features]
    try:
        tables.write_text(output.absolute(), found.file)
        tables.write_text(output.absolute().with_suffix(".html"), page.render(title, figures, found.bins, weights))
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be written: {error.strerror or error}") from error
    print(f"{output} and {output.with_suffix('.html')}; each clip predicted without its own video:")
    print(aligned([[name, value] for name, value in figures.items()]) + "\n")
    if absent := found.figures["labels_of_no_clip"]:
        print(f"{counted(absent, 'label')} left out: this run has no such clip\n")
    if without := found.figures.get("labels_of_clips_without_embedding"):
        print(f"{counted(without, 'label')} left out: the clip has no embedding ({WITHOUT_EMBEDDING})\n")
    if whole := found.figures["labels_of_whole_videos"]:
        print(f"{counted(whole, 'label')} left out: of a whole video, and not of its clips one by one\n")


def _in_words(figures: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.replace("_", " "): "none"
        if value is None
        else f"{value:.3f}"
        if isinstance(value, float)
        else f"{value:,}"
        for name, value in figures.items()
    }
