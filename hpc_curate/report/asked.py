"""What a plan asks for beyond the defaults, and in what several plans differ, as the overrides that would say it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

from hpc_curate import registry
from hpc_curate.plan import Plan

_KINDS = tuple(registry.FOLDERS)  # of what has settings with defaults
_WIDEST = 48  # characters of a name
_PLACES = ("run_dir", "output")  # where a run lies says nothing of what it asks


def changed(question: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Setting, value and default of all that is not as the code has it.

    Args:
        question: settings of a plan, with `stage` and maybe `measure` and `cutter`.
    """
    found = []
    for kind in _KINDS:
        for name, settings in (question.get(kind) or {}).items():
            defaults = _defaults(kind, name)
            for key, value in settings.items():
                if key != "name" and value != defaults.get(key):
                    found += [
                        (path, said, _said(defaults.get(key))) for path, said in _leaves(f"{kind}.{name}.{key}", value)
                    ]
    return found


def differences(plans: Sequence[Plan], but: Collection[str] = _PLACES) -> list[tuple[str, list[str | None]]]:
    """Each setting in which the plans are not all alike, with its value in each; None: it has no such setting.

    Args:
        but: top-level settings that are not compared.
    """
    each = [
        dict(leaf for key, value in plan.settings.items() if key not in but for leaf in _leaves(key, value))
        for plan in plans
    ]
    paths = dict.fromkeys(path for leaves in each for path in leaves)
    rows = [(path, [leaves.get(path) for leaves in each]) for path in paths]
    return [(path, values) for path, values in rows if len(set(values)) > 1]


def apart(plans: Sequence[Plan]) -> list[list[str]]:
    """The overrides of each plan that not all share; nothing of any where these do not tell, such as after a retry."""
    words = [[word for word in plan.asked if _key(word) not in _PLACES] for plan in plans if plan.asked]
    if len(words) < len(plans):
        return [[] for _ in plans]
    shared = set.intersection(*map(set, words))
    own = [[word for word in one if word not in shared] for one in words]
    keys = dict.fromkeys(_key(word) for one in own for word in one)
    return [one or [f"{key} not given" for key in keys] for one in own]


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def named(plans: Sequence[Plan]) -> dict[str, Plan]:
    """Plans by what each asks for that the others do not; by the hash where that does not tell them apart."""
    once = {plan.hash: plan for plan in plans}
    plans = list(once.values())
    names = [_heading(words) for words in apart(plans)]
    if len(set(names)) < len(plans):
        rows = differences(plans)
        names = [_name([(path, values[at]) for path, values in rows]) for at in range(len(plans))]
    names = [name or plan.hash for name, plan in zip(names, plans, strict=True)]
    often = Counter(names)
    return {
        name if often[name] == 1 else f"{name} ({plan.hash})": plan for name, plan in zip(names, plans, strict=True)
    }


def _name(own: Sequence[tuple[str, str | None]]) -> str:
    return _heading([f"{_short(path)}={value}" if value is not None else f"no {_short(path)}" for path, value in own])


def _heading(parts: Sequence[str]) -> str:
    """As many parts as a heading has room for, at least one."""
    fit = max([1, *(n for n in range(len(parts) + 1) if len(", ".join(parts[:n])) <= _WIDEST)])
    text = ", ".join(parts[:fit])
    more = f" and {len(parts) - fit} more" if len(parts) > fit else ""
    return (text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…") + more


def _short(path: str) -> str:
    """The end of a path, which is what people know a setting by."""
    return path.removeprefix("stage.").replace(".rules.", ".")


def _leaves(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key, part in value.items() for leaf in _leaves(f"{path}.{key}", part)]
    return [(path, _said(value))]


def _said(value: Any) -> str:
    """As it stands in YAML, on one line."""
    if isinstance(value, tuple):
        value = list(value)
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    )


def _defaults(kind: str, name: str) -> dict[str, Any]:
    """Of the fields that have one, as they stand in a plan."""
    found = {}
    for field in dataclasses.fields(registry.load(kind, name)):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
