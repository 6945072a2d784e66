"""The funnel for a terminal, and several selections side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from hpc_curate.clips.thresholds import met, side_by_side
from hpc_curate.plural import counted
from hpc_curate.run_folder.accounting import TOTALS

_REASONS = 6  # of one step; the rest is one line
_WIDEST = 60  # characters of a reason
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_EFFECT = ("alone", "first", "clips")
_TERMS = "alone: no other rule rejects them; first: as counted above; in total: whatever else rejects them"


def funnel(table: pa.Table) -> str:
    """Rows of `accounting.FUNNEL` as aligned lines: totals at the margin, what was lost indented below them."""
    lines = [["", "videos", "clips", "h:mm:ss"]]
    for row in _shown(table.to_pylist()):
        numbers = [_number(row["videos"]), _number(row["clips"]), clock(row["hours"])]
        lines.append([_label(row), *numbers])
    return aligned(lines)


def compare(funnels: Mapping[str, pa.Table]) -> str:
    """Clips by step and reason, one column for each selection; `kept` also in hours and as a share of all clips."""
    found = {name: {(row["step"], row["reason"]): row for row in _counted(table)} for name, table in funnels.items()}
    keys = _merged([list(rows) for rows in found.values()])
    lines = [["clips", *funnels]]
    for key in keys:
        rows = [rows.get(key) for rows in found.values()]
        if any(row and row["clips"] for row in rows) or key == ("kept", None):
            step = {"step": key[0], "reason": key[1]}
            lines.append([_label(step), *(_number((row or {"clips": 0})["clips"]) for row in rows)])
    kept = [rows.get(("kept", None), {}) for rows in found.values()]
    made = [rows.get(("clips", None), {}) for rows in found.values()]
    lines.append(["kept, h:mm:ss", *(clock(row.get("hours")) for row in kept)])
    lines.append(
        ["kept, % of clips", *(_share(k.get("clips"), m.get("clips")) for k, m in zip(kept, made, strict=True))]
    )
    return aligned(lines)


def effects(table: pa.Table) -> str:
    """Rows of `thresholds.EFFECTS` as aligned lines, by filter."""
    lines = [["what each rule removes", "alone", "first", "in total"]]
    for name in dict.fromkeys(table["filter"].to_pylist()):
        rows = [row for row in table.to_pylist() if row["filter"] == name]
        lines.append([f"{name}, {counted(rows[0]['judged'], 'clip')}", "", "", ""])
        met = [row for row in rows if row["clips"]]
        lines += [[f"      {plain(row['reason'])}", *(f"{row[key]:,}" for key in _EFFECT)] for row in met]
        if idle := len(rows) - len(met):
            lines.append([f"      {counted(idle, 'reason')} that no clip met", "0", "0", "0"])
    return f"{aligned(lines)}\n{_TERMS}" if table.num_rows else ""


def compare_effects(found: Mapping[str, pa.Table]) -> str:
    """What each rule of each selection removes: its threshold, how many clips alone, and how many in total."""
    lines = [["rules: threshold, alone / in total", *found]]
    rows = side_by_side(list(found.values()))
    for name, kind in [key for key, row in rows.items() if met(row)]:
        row = rows[name, kind]
        cells = [f"{one.threshold}  {one.alone:,} / {one.clips:,}".strip() if one else "-" for one in row]
        lines.append([f"    {name}: {plain(kind)}", *cells])
    idle = len(rows) + 1 - len(lines)
    rest = f"\n    {counted(idle, 'reason')} that no clip met" if idle else ""
    return aligned(lines) + rest if rows else ""


def aligned(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Cells as a table: the first columns to the left, the others to the right."""
    widths = [max(_width(line[i]) for line in lines) for i in range(len(lines[0]))]
    signed = [-width if column < left else width for column, width in enumerate(widths)]
    return "\n".join("  ".join(map(_padded, line, signed)).rstrip() for line in lines)


def plain(text: str, widest: int = _WIDEST) -> str:
    """Text from outside for a terminal: one line, no control characters, not too long."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= widest else clean[: widest - 1] + "…"


def _shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without steps that lost nothing, and with the rare reasons of a step added up in one line."""
    shown: list[dict[str, Any]] = []
    for step in dict.fromkeys(row["step"] for row in rows):
        total, *reasons = [row for row in rows if row["step"] == step]
        if step in TOTALS or total["videos"] or total["clips"] or total["hours"]:
            # One reason too many takes no more room than the line that would stand for it.
            some = reasons if len(reasons) == _REASONS + 1 else reasons[:_REASONS]
            shown += [total, *some]
            if rest := reasons[len(some) :]:
                shown.append(_added(rest))
    return shown


def _counted(table: pa.Table) -> list[dict[str, Any]]:
    """The rows that count clips. Errors have as many texts as they like, so they are not told apart here."""
    rows = table.to_pylist()
    return [row for row in rows if row["clips"] is not None and (row["reason"] is None or "failed" not in row["step"])]


def _added(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line for several; videos are not added, because one may have clips in many."""
    clips = None if rows[0]["clips"] is None else sum(row["clips"] for row in rows)
    hours = sum(row["hours"] or 0.0 for row in rows)
    videos = sum(row["videos"] for row in rows) if clips is None else None
    return {
        "step": rows[0]["step"],
        "reason": f"{len(rows)} other reasons",
        "videos": videos,
        "clips": clips,
        "hours": hours,
    }


def _merged(orders: Sequence[list[Any]]) -> list[Any]:
    """All keys of several lists; each list's new ones go behind the key that they follow there."""
    merged: list[Any] = []
    for order in orders:
        at = 0
        for key in order:
            if key not in merged:
                merged.insert(at, key)
            at = merged.index(key) + 1
    return merged


def _label(row: Mapping[str, Any]) -> str:
    if row["reason"] is not None:
        return f"      {plain(row['reason'])}"
    return row["step"] if row["step"] in TOTALS else f"    {row['step']}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def clock(hours: float | None) -> str:
    """h:mm:ss, or a question mark."""
    if hours is None:
        return "?"
    seconds = round(hours * 3600)
    return f"{seconds // 3600:,}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def size(held: float | None) -> str:
    """Bytes as they are read: 3.2 GB; a dash where nobody knows."""
    if held is None:
        return "-"
    return next((f"{held / unit:,.3g} {name}" for unit, name in _BYTES if held >= unit), f"{held:.0f} B")


def _share(part: int | None, whole: int | None) -> str:
    return "" if not whole or part is None else f"{100 * part / whole:.1f}"


def _width(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two, marks none."""
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return wide - sum(unicodedata.combining(c) != 0 for c in text)


def _padded(text: str, width: int) -> str:
    """To the right, or to the left where the width is negative."""
    space = " " * (abs(width) - _width(text))
    return text + space if width < 0 else space + text
