"""Rules say which values of a column a clip may have. `gate` and `select` apply the same ones.

A rule is a line of YAML. Its name is the column it looks at, unless `column` says otherwise:

    motion: {min: 0.3, max: 40}                    # both bounds included
    codec: {forbidden: [gif]}
    dull: {column: aesthetic, min_percentile: 15}  # select only: rejects the lowest 15 %
    text_share: {max: 0.07, missing: keep}
    sharpness: null                                # a rule switched off

`missing` says what becomes of a clip without a value (null or NaN): `reject` (the default) with the reason
"<column> missing", `keep`, or `fail`, which stops the stage.

Percentiles are taken over the clips that pass the absolute bounds of all rules, so that "the lowest 15 %" speaks of
clips that could otherwise be kept, and does not depend on the order of the rules. Values between two clips are
interpolated linearly; a clip that equals the bound passes, so a column of one value rejects nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.errors import ConfigError, UnitFailed
from hpc_curate.nearest import nearest

VERDICTS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("keep", pa.bool_()),
        ("reason", pa.string()),  # the first, in the order of the rules; null: kept
        ("reasons", pa.list_(pa.string())),
    ]
)


def _pixels(width: pa.ChunkedArray, height: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.multiply(pc.cast(width, pa.int64()), pc.cast(height, pa.int64()))


def _aspect(width: pa.ChunkedArray, height: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.divide(pc.cast(width, pa.float64()), pc.cast(height, pa.float64()))


# Columns that rules and rankings may name beside those that stages write: what they are made of, and how. Those that
# begin with crop_ speak of the picture without its black borders, and need the measure borders; those with clean_ of
# what the stage overlays leaves of it.
DERIVED: dict[str, tuple[tuple[str, ...], Callable[..., pa.ChunkedArray]]] = {
    prefix + name: (sides, derive)
    for prefix, sides in (
        ("", ("width", "height")),
        ("crop_", ("crop_w", "crop_h")),
        ("clean_", ("clean_w", "clean_h")),
    )
    for name, derive in (("pixels", _pixels), ("short_side_px", pc.min_element_wise), ("aspect", _aspect))
}

_MISSING = ("reject", "keep", "fail")

Check = tuple[str, np.ndarray]  # the reason, and bool [N]: which clips it rejects


@dataclass(frozen=True)
class Rule:
    """The values of one column that a clip may have. Bounds are included."""

    column: str
    min: float | None = None
    max: float | None = None
    allowed: Sequence[Any] | None = None
    forbidden: Sequence[Any] | None = None
    min_percentile: float | None = None
    max_percentile: float | None = None
    missing: str = "reject"

    @property
    def relative(self) -> bool:
        """Whether its bounds depend on the other clips."""
        return self.min_percentile is not None or self.max_percentile is not None


def parse(settings: Mapping[str, Any], percentiles: bool) -> dict[str, Rule]:
    """Rules by name from a mapping as it stands in YAML; a rule that is null is left out.

    Args:
        percentiles: whether percentile bounds may be used; where not all clips are seen they mean nothing.

    Raises:
        ConfigError: an unknown setting, bounds that nothing can meet, a bound that is not a number.
    """
    if not isinstance(settings, Mapping):
        raise ConfigError(f"rules are {settings!r}; they must be a mapping (select=none and gate=none have none)")
    return {name: _rule(name, given, percentiles) for name, given in settings.items() if given is not None}


def reasons(name: str, rule: Rule) -> dict[str, str]:
    """All that it may say of a clip, by the setting that says it, in the order in which it looks at them."""
    given = {
        "missing": "missing" if rule.missing == "reject" else None,
        "min": rule.min is not None and f"below {rule.min:.10g}",
        "max": rule.max is not None and f"above {rule.max:.10g}",
        "allowed": rule.allowed is not None and "not allowed",
        "forbidden": rule.forbidden is not None and "forbidden",
        "min_percentile": rule.min_percentile is not None and f"in the lowest {rule.min_percentile:.10g} %",
        "max_percentile": rule.max_percentile is not None and f"in the highest {100 - rule.max_percentile:.10g} %",
    }
    subject = rule.column if name == rule.column else f"{name}: {rule.column}"
    return {setting: f"{subject} {text}" for setting, text in given.items() if text}


def columns(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that stages must have written for these, with derived ones traced back; each once, in order."""
    needed = [base for name in names for base in (DERIVED[name][0] if name in DERIVED else (name,))]
    return tuple(dict.fromkeys(needed))


def column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of the table or one derived from it.

    Raises:
        ConfigError: there is no such column.
    """
    if name in DERIVED:
        bases, derive = DERIVED[name]
        return derive(*(column(table, base) for base in bases))
    if name not in table.column_names:
        raise ConfigError(f"there is no column '{name}'; {nearest(name, [*table.column_names, *DERIVED])}")
    return table[name]


def apply(rules: Mapping[str, Rule], table: pa.Table) -> pa.Table:
    """One row of `VERDICTS` for each row of the table, in its order. No loop over rows.

    Raises:
        ConfigError: a rule's column is not there or cannot be compared with its bounds.
        UnitFailed: a value is missing where the rule says `missing: fail`.
    """
    bounds = limits(rules, table)
    checks: list[Check] = []
    for name, rule in rules.items():
        values = column(table, rule.column)
        checks += _absolute(name, rule, values)
        checks += _relative(name, rule, values, bounds.get(name, (None, None)))
    return _verdicts(table["clip_id"], checks)


def limits(rules: Mapping[str, Rule], table: pa.Table) -> dict[str, tuple[float | None, float | None]]:
    """What the percentile bounds (lower, upper) of the rules that have some come to on this table."""
    relative = {name: rule for name, rule in rules.items() if rule.relative}
    passing = np.ones(table.num_rows, dtype=bool)
    if relative:
        for name, rule in rules.items():
            for _, rejects in _absolute(name, rule, column(table, rule.column)):
                passing &= ~rejects
    found = {}
    for name, rule in relative.items():
        known = _numbers(name, rule, column(table, rule.column))[passing]
        known = known[~np.isnan(known)]
        found[name] = (_percentile(known, rule.min_percentile), _percentile(known, rule.max_percentile))
    return found


def _rule(name: str, given: Any, percentiles: bool) -> Rule:
    if not isinstance(given, Mapping):
        raise ConfigError(f"rule {name!r} is {given!r}; it must be a mapping such as {{min: 1, max: 2}}, or null")
    known = [field.name for field in fields(Rule)]
    for key in given:
        if key not in known:
            raise ConfigError(f"rule {name!r} has no setting {key!r}; {nearest(str(key), known)}")
    rule = Rule(**{"column": name, **given})
    if rule.relative and not percentiles:
        raise ConfigError(f"gate rule {name!r}: percentiles need all clips; use min or max, or a rule of select")
    _ordered(name, "min", rule.min, "max", rule.max)
    _ordered(name, "min_percentile", rule.min_percentile, "max_percentile", rule.max_percentile)
    for percent in (rule.min_percentile, rule.max_percentile):
        if percent is not None and not 0 <= percent <= 100:
            raise ConfigError(f"rule {name!r}: percentile {percent} does not lie between 0 and 100")
    _listed(name, "allowed", rule.allowed)
    _listed(name, "forbidden", rule.forbidden)
    if rule.missing not in _MISSING:
        raise ConfigError(f"rule {name!r}: missing is {rule.missing!r}; it is one of {', '.join(_MISSING)}")
    return rule


def _listed(name: str, key: str, value: Any) -> None:
    if value is not None and (isinstance(value, str) or not isinstance(value, Sequence) or not value):
        raise ConfigError(f"rule {name!r}: {key} is {value!r}; it must be a list of at least one value")


def _ordered(name: str, low: str, least: Any, high: str, most: Any) -> None:
    for key, value in ((low, least), (high, most)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value != value):
            raise ConfigError(f"rule {name!r}: {key} is {value!r}; it must be a number (use allowed: [...] for others)")
    if least is not None and most is not None and least > most:
        raise ConfigError(f"rule {name!r}: {low} {least} is above {high} {most}; no clip could pass")


def numbers(values: pa.ChunkedArray) -> np.ndarray | None:
    """float64 [N], NaN where there is no value; None: the column does not hold numbers."""
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        return None
    return pc.fill_null(pc.cast(values, pa.float64(), safe=False), float("nan")).to_numpy()


def _numbers(name: str, rule: Rule, values: pa.ChunkedArray) -> np.ndarray:
    found = numbers(values)
    if found is None:
        raise ConfigError(
            f"rule {name!r}: column {rule.column!r} holds {values.type}, not numbers; use allowed or forbidden"
        )
    return found


def _absent(values: pa.ChunkedArray) -> np.ndarray:
    return pc.is_null(values, nan_is_null=True).to_numpy()


def _absolute(name: str, rule: Rule, values: pa.ChunkedArray) -> list[Check]:
    checks: list[Check] = []
    said, absent = reasons(name, rule), _absent(values)
    if rule.missing == "fail" and absent.any():
        raise UnitFailed(
            f"rule {name!r}: {absent.sum()} of {len(absent)} clips have no {rule.column!r} (missing: fail)"
        )
    if rule.missing == "reject":
        checks.append((said["missing"], absent))
    if rule.min is not None:
        checks.append((said["min"], _numbers(name, rule, values) < rule.min))
    if rule.max is not None:
        checks.append((said["max"], _numbers(name, rule, values) > rule.max))
    if rule.allowed is not None:
        checks.append((said["allowed"], ~absent & ~_among(name, rule.allowed, values)))
    if rule.forbidden is not None:
        checks.append((said["forbidden"], _among(name, rule.forbidden, values)))
    return checks


def _among(name: str, wanted: Sequence[Any], values: pa.ChunkedArray) -> np.ndarray:
    try:
        listed = pa.array(list(wanted)).cast(values.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"rule {name!r}: {list(wanted)!r} cannot be compared with a column of {values.type}"
        ) from error
    return pc.is_in(values, value_set=listed, skip_nulls=True).to_numpy()


def _percentile(known: np.ndarray, percent: float | None) -> float | None:
    return None if percent is None or not len(known) else float(np.percentile(known, percent))


def _relative(name: str, rule: Rule, values: pa.ChunkedArray, bounds: tuple[float | None, float | None]) -> list[Check]:
    low, high = bounds
    said = reasons(name, rule)
    checks: list[Check] = []
    if low is not None:
        checks.append((said["min_percentile"], _numbers(name, rule, values) < low))
    if high is not None:
        checks.append((said["max_percentile"], _numbers(name, rule, values) > high))
    return checks


def _verdicts(clip_ids: pa.ChunkedArray, checks: Sequence[Check]) -> pa.Table:
    rows = len(clip_ids)
    # The last check rejects everybody, so that the first one that rejects is found by argmax for kept clips too.
    rejects = np.column_stack([*(check for _, check in checks), np.ones(rows, dtype=bool)])  # bool [N, checks + 1]
    texts = pa.array([*(text for text, _ in checks), None], pa.string())
    offsets = np.concatenate([[0], np.cumsum(rejects[:, :-1].sum(axis=1))])
    reasons = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), texts.take(pa.array(np.nonzero(rejects[:, :-1])[1]))
    )
    first = rejects.argmax(axis=1)
    keep = pa.array(first == len(checks))
    return pa.table([clip_ids, keep, texts.take(pa.array(first)), reasons], schema=VERDICTS)
