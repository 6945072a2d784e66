"""Groups of near-duplicates: which clip stands for the others, and how alike they are."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from hpc_curate.plan import Plan
from hpc_curate.run_folder.accounting import KEPT
from hpc_curate.run_folder.gather import Gather
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

_GROUP = "duplicate_group"


@dataclass(frozen=True)
class Member:
    """A clip of a group."""

    row: int  # in the table that was grouped
    similarity: float | None  # of the edge to the clip before all others, or of its strongest one; None: it is that one
    method: str  # that found the edge


def edges(plan: Plan) -> pa.Table | None:
    """clip_a, clip_b, similarity and method of a run; None: dedup is not done, or not in the recipe."""
    if "dedup" not in plan.steps:
        return None
    state = State(plan, Ledger(plan.paths))
    return Gather(state, state.finished).table("dedup", "edges") if state.done("dedup", 0) else None


def groups(rows: pa.Table, found: pa.Table) -> list[list[Member]]:
    """Groups of at least two, the largest first; in each the kept clips come first, then the most similar.

    Args:
        rows: with `id`, `duplicate_group` and `state`.
        found: edges.
    """
    if _GROUP not in rows.column_names:
        return []
    inside: dict[str, list[int]] = {}
    for row, group in enumerate(rows[_GROUP].to_pylist()):
        if group is not None:
            inside.setdefault(group, []).append(row)
    ids, states = rows["id"].to_pylist(), rows["state"].to_pylist()
    links = _links(found)
    several = [members for members in inside.values() if len(members) > 1]
    return [_ordered(members, ids, states, links) for members in sorted(several, key=len, reverse=True)]


def _links(found: pa.Table) -> dict[str, dict[str, tuple[float, str]]]:
    """By clip and other clip, the strongest edge."""
    links: dict[str, dict[str, tuple[float, str]]] = {}
    for edge in found.to_pylist():
        ends, said = (edge["clip_a"], edge["clip_b"]), (edge["similarity"], edge["method"])
        for one, other in (ends, ends[::-1]):
            mine = links.setdefault(one, {})
            mine[other] = max(mine.get(other, said), said)
    return links


def _ordered(
    members: list[int], ids: list[str], states: list[str], links: dict[str, dict[str, tuple[float, str]]]
) -> list[Member]:
    first, *others = sorted(members, key=lambda row: (states[row] != KEPT, ids[row]))
    said = [Member(first, None, "")]
    for row in others:
        mine = links.get(ids[row], {})
        similarity, method = mine.get(ids[first]) or max(mine.values(), default=(0.0, ""))
        said.append(Member(row, similarity, method))
    return sorted(said, key=lambda one: (one.similarity is not None, states[one.row] != KEPT, -(one.similarity or 0)))
