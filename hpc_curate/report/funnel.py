"""What became of a run's clips and what each rule removes, for terminals and scripts; several plans side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import plural
from hpc_curate.plan import Plan
from hpc_curate.report import text
from hpc_curate.report.thresholds import Selection
from hpc_curate.run_folder import accounting, books

# The columns that the counts are made of.
COLUMNS = (*accounting.COUNTED, "gate_reasons", "reasons")


def counted(plan: Plan) -> tuple[pa.Table, pa.Table]:
    """`accounting.FUNNEL` and `thresholds.EFFECTS` of a plan, of what is done so far."""
    found = books.read(plan, COLUMNS)
    return accounting.funnel(found), Selection(plan.hash, found, plan.settings).effects


def said(plan: Plan) -> str:
    """For a terminal."""
    funnel, effects = counted(plan)
    return "\n\n".join(part for part in (text.funnel(funnel), text.effects(effects)) if part)


def listed(plan: Plan) -> dict[str, Any]:
    """For a script."""
    funnel, effects = counted(plan)
    return {"plan": plan.hash, "funnel": funnel.to_pylist(), "rules": effects.to_pylist()}


def compared(made: Mapping[str, Plan]) -> str:
    """Several plans side by side, by their names, for a terminal."""
    found = {name: counted(plan) for name, plan in made.items()}
    funnels = text.compare({name: funnel for name, (funnel, _) in found.items()})
    effects = text.compare_effects({name: rules for name, (_, rules) in found.items()})
    return "\n\n".join(part for part in (funnels, effects) if part)


def outcome(plan: Plan) -> str:
    """One line: what is kept, and what failed."""
    clips, videos = accounting.counted(books.read(plan, accounting.COUNTED))
    kept, failed = (_count(clips, state) for state in (accounting.KEPT, accounting.FAILED))
    nothing = "; nothing is kept: hpc-curate funnel says why" if not kept else ""
    return (
        f"{kept:,} of {plural.counted(clips.num_rows, 'clip')} kept; failed: {_count(videos, accounting.FAILED):,} of "
        f"{plural.counted(videos.num_rows, 'video')}, {plural.counted(failed, 'clip')}{nothing}"
    )


def _count(rows: pa.Table, state: str) -> int:
    return int(pc.sum(pc.equal(rows["state"], state)).as_py() or 0)
