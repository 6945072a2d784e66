"""The early filter: no GPU time for clips that are lost on what shots already knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hpc_curate.clips.rules import Rule, apply, columns, parse
from hpc_curate.stage import Filter, Item, PerUnit, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

ROWS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("gate_keep", pa.bool_()),
        ("gate_reason", pa.string()),  # the first, in the order of the rules; null: kept
        ("gate_reasons", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Gate(Filter, PerUnit):
    """Rules with absolute bounds on the columns of shots; without rules it keeps every clip.

    A unit sees its own clips only, so percentiles are refused. The rules are those of `hpc_curate.clips.rules`.
    """

    name: ClassVar[str] = "gate"
    keep_column: ClassVar[str] = "gate_keep"

    rules: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parsed()

    def _parsed(self) -> dict[str, Rule]:
        return parse(self.rules, percentiles=False)

    def settings(self) -> dict[str, Any]:
        # A list, because the order of the rules decides which reason comes first.
        return {"rules": [[name, rule] for name, rule in self.rules.items() if rule is not None]}

    def reads(self) -> tuple[str, ...]:
        # Without a rule its rows are still those of shots: other spans are another gate.
        return columns(["start_pts", *(rule.column for rule in self._parsed().values())])

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": ROWS}

    def process(self, model: None, inputs: Inputs, item: Item) -> Tables:
        verdicts = apply(self._parsed(), inputs.clips(self.reads()))
        return {"rows": verdicts.rename_columns(ROWS.names)}
