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
from hpc_curate.learning.fitting import Fitted, Settings, fit_probe, fit_utility
from hpc_curate.report.text import aligned

_SHOWN = 12  # weights, in the terminal


def utility(given: argparse.Namespace) -> int:
    """Fit the number of stage utility to people's labels."""
    plan = plans.load_latest(given.run, given.plan)
    columns = given.columns.split(",") if given.columns else None
    found = fit_utility(plan, labels.read(given.labels, given.label), columns, Settings(given.l2, given.folds))
    _publish(given.output, f"Utility: {given.label} of {given.labels.name}", found)
    strongest = sorted(found.features, key=lambda one: -abs(one.weight))[:_SHOWN]
    print(aligned([["weight of one deviation", ""], *([one.column, f"{one.weight:+.3f}"] for one in strongest)]))
    print(f"\nuse it: hpc-curate run … stage.utility.model_path={given.output}")
    return 0


def probe(given: argparse.Namespace) -> int:
    """Fit labels to embeddings, for stage probe."""
    plan = plans.load_latest(given.run, given.plan)
    found = fit_probe(plan, labels.read(given.labels, given.label), Settings(given.l2, given.folds))
    _publish(given.output, f"Probe: {given.label} of {given.labels.name}", found)
    print(f"use it: hpc-curate run … +stage.probe.paths.{given.label}={given.output}, with stage probe in the recipe")
    return 0


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


def _in_words(figures: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.replace("_", " "): "none"
        if value is None
        else f"{value:.3f}"
        if isinstance(value, float)
        else f"{value:,}"
        for name, value in figures.items()
    }
