"""The selections of conf/select: each can be planned with the recipe that it is meant for, and says its sources."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from hpc_curate import config
from hpc_curate import plan as plans
from hpc_curate.clips import rules
from hpc_curate.clips.rules import Rule
from hpc_curate.errors import ConfigError
from hpc_curate.overrides import compose

OF_DEFAULT = ["none", "lenient", "default", "strict"]
PRESETS = ["pretraining", "post_training", "world_model"]
OF_FULL = ["full", *PRESETS]
FILES = {path.stem: path for path in (config.conf_dir() / "select").glob("*.yaml")}


@cache
def settings(select: str, recipe: str) -> dict[str, Any]:
    config.register()
    asked = ["input=/videos", "run_dir=/runs/one", f"recipe={recipe}", f"select={select}"]
    return config.resolve(compose(asked))


def ruled(composed: dict[str, Any], stage: str) -> dict[str, Rule]:
    return rules.parse(composed["stage"][stage]["rules"], percentiles=True)


def test_every_selection_is_meant_for_a_recipe() -> None:
    assert sorted(FILES) == sorted([*OF_DEFAULT, *OF_FULL])


@pytest.mark.parametrize(
    ("select", "recipe"),
    [*((name, "default") for name in OF_DEFAULT), *((name, "full") for name in [*OF_DEFAULT, *OF_FULL])],
)
def test_a_selection_can_be_planned_with_its_recipe(select: str, recipe: str) -> None:
    assert plans.build(settings(select, recipe), 1).steps["select"].stage.name == "select"


@pytest.mark.parametrize("select", OF_FULL)
def test_a_rule_on_a_column_that_nobody_writes_is_refused(select: str) -> None:
    with pytest.raises(ConfigError, match="no stage of the recipe writes it"):
        plans.build(settings(select, "default"), 1)


@pytest.mark.parametrize("select", [*OF_DEFAULT, *OF_FULL])
def test_the_gate_loses_nothing_that_a_selection_would_keep(select: str) -> None:
    composed = settings(select, "full")
    asked = ruled(composed, "select")
    for name, gate in ruled(composed, "gate").items() if asked else ():
        mine = asked[name]
        assert gate.min is None or (mine.min is not None and gate.min <= mine.min), name
        assert gate.max is None or (mine.max is not None and gate.max >= mine.max), name


@pytest.mark.parametrize("select", PRESETS)
def test_each_rule_of_a_preset_says_where_its_figures_come_from(select: str) -> None:
    """In a comment behind it or right above it."""
    lines = FILES[select].read_text().partition("\nrules:\n")[2].partition("\n\n")[0].splitlines()
    said = [above.lstrip().startswith("#") or "#" in line for above, line in zip(["", *lines], lines, strict=False)]
    assert [line for line, told in zip(lines, said, strict=True) if not told] == []
    assert len(lines) > 10
