"""The run as one page for people: what came in, what was thrown away and why, and what is left."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.clips.rules import Rule
from hpc_curate.errors import BadInput
from hpc_curate.io import tables
from hpc_curate.report.charts import Bounds, short
from hpc_curate.report.page import Page, Sample, Spread, render
from hpc_curate.run_folder import accounting
from hpc_curate.run_folder.accounting import FAILED, FUNNEL, KEPT, REJECTED, Books
from hpc_curate.stage import Merge, Tables
from hpc_curate.stages.select import DUPLICATE

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

_EVERYTHING = "**"  # in `reads`: all columns and tables that stages before it write


@dataclass(frozen=True)
class Report(Merge):
    """Checks that every video and clip is accounted for, then writes one HTML file.

    Table: `funnel`, the counts that the page shows.
    """

    name: ClassVar[str] = "report"

    samples: int = 12  # pictures for each reason
    reasons: int = 8  # the most frequent ones have pictures
    thumbnail_px: int = 320  # long side
    seed: int = 0  # which clips are shown

    def reads(self) -> tuple[str, ...]:
        return (_EVERYTHING,)

    def writes(self) -> dict[str, pa.Schema]:
        return {"funnel": FUNNEL}

    def run(self, model: None, inputs: Inputs) -> Tables:
        books, question = inputs.books(), inputs.question()
        funnel = accounting.funnel(books, final=True)
        clips = accounting.clip_rows(books)
        shown = self._chosen(clips)
        pictures = self._pictures(inputs, {clip for rows in shown.values() for clip in rows["clip_id"].to_pylist()})
        page = Page(
            title="hpc_curate report",
            funnel=funnel,
            spreads=spreads(books, clips, question),
            samples={heading: _samples(rows, question, pictures) for heading, rows in shown.items()},
            videos=accounting.video_rows(books, clips),
            tars=_tars(books.samples),
            dedup=inputs.table("dedup_stats") if inputs.has("dedup_stats") else None,
            costs=inputs.costs(),
            question=question,
        )
        tables.write_text(inputs.report_folder() / "index.html", render(page))
        return {"funnel": funnel}

    def publishes(self, inputs: Inputs) -> list[Path]:
        return [inputs.report_folder() / "index.html"]

    def _chosen(self, clips: pa.Table) -> dict[str, pa.Table]:
        """Clips to show, by heading."""
        by_state = {state: clips.filter(pc.equal(clips["state"], state)) for state in (KEPT, REJECTED, FAILED)}
        shown = {"Kept": self._some(by_state[KEPT])}
        often = by_state[REJECTED]["reason"].value_counts().to_pylist()
        often = sorted(often, key=lambda count: (-count["counts"], str(count["values"])))
        for reason in [count["values"] for count in often if count["values"] != DUPLICATE][: self.reasons]:
            rows = by_state[REJECTED].filter(pc.equal(by_state[REJECTED]["reason"], reason))
            shown[f"Rejected: {reason}"] = self._some(rows)
        duplicates = by_state[REJECTED].filter(pc.equal(by_state[REJECTED]["reason"], DUPLICATE))
        shown["Rejected: duplicate, each before the clip that was kept"] = self._pairs(duplicates, by_state[KEPT])
        shown["Failed"] = self._some(by_state[FAILED])
        return {heading: rows for heading, rows in shown.items() if rows.num_rows}

    def _some(self, rows: pa.Table) -> pa.Table:
        """A few of them by chance, in their order."""
        chosen = np.random.default_rng(self.seed).permutation(rows.num_rows)[: self.samples]
        return rows.take(pa.array(np.sort(chosen)))

    def _pairs(self, duplicates: pa.Table, kept: pa.Table) -> pa.Table:
        """Some duplicates, each before its keeper."""
        if not duplicates.num_rows:
            return duplicates
        dropped = self._some(duplicates).slice(0, max(1, self.samples // 2))
        keepers = kept.take(pc.index_in(dropped["duplicate_of"], value_set=kept["clip_id"].combine_chunks()))
        both = pa.concat_tables([dropped, keepers])
        return both.take(pa.array(np.arange(both.num_rows).reshape(2, -1).T.ravel()))

    def _pictures(self, inputs: Inputs, ids: Iterable[str]) -> dict[str, bytes]:
        """A JPEG by clip, from the middle of the clip."""
        found = inputs.frames(sorted(ids), 1)
        return {name: self._jpeg(clip.frames[0]) for name, clip in found if not isinstance(clip, BadInput)}

    def _jpeg(self, frame: np.ndarray) -> bytes:
        """A small picture of one frame, uint8 [H, W, 3]."""
        from PIL import Image

        picture, file = Image.fromarray(frame), io.BytesIO()
        picture.thumbnail((self.thumbnail_px, self.thumbnail_px))
        picture.save(file, "JPEG", quality=80)
        return file.getvalue()


def spreads(books: Books, clips: pa.Table, question: Mapping[str, Any]) -> list[Spread]:
    """The values of every column that a rule of gate or select names."""
    gate, select = _rules(question, "gate"), _rules(question, "select")
    judged = books.clips.filter(pc.is_in(_raw_state(books.clips), pa.array([KEPT, REJECTED])))
    if "gate_keep" in judged.column_names:
        judged = judged.filter(judged["gate_keep"])
    relative = rules.limits(select, judged)
    found: list[Spread] = []
    for name in dict.fromkeys(rule.column for rule in (*select.values(), *gate.values())):
        own = {key: rule for key, rule in select.items() if rule.column == name}
        early = [rule for rule in gate.values() if rule.column == name]
        said = [_said(rule) for rule in own.values()]
        texts = [f"gate {_said(rule)}" for rule in early if _said(rule) not in said] + said
        limits = [relative.get(key, (None, None)) for key in own]
        bounds = Bounds(
            _extreme(max, [rule.min for rule in (*own.values(), *early)] + [low for low, _ in limits]),
            _extreme(min, [rule.max for rule in (*own.values(), *early)] + [high for _, high in limits]),
        )
        kept, others = _split(clips, name)
        found.append(Spread(name, " · ".join(text for text in texts if text), kept, others, bounds))
    return found


def _raw_state(clips: pa.Table) -> pa.ChunkedArray:
    """What select said of a clip, before anything could fail behind it."""
    return clips["state"] if "state" in clips.column_names else pa.chunked_array([pa.nulls(len(clips), pa.string())])


def _rules(question: Mapping[str, Any], stage: str) -> dict[str, Rule]:
    settings = question["stage"].get(stage) or {}
    return rules.parse(settings.get("rules") or {}, percentiles=True)


def _said(rule: Rule) -> str:
    parts = [
        f"≥ {short(rule.min)}" if rule.min is not None else "",
        f"≤ {short(rule.max)}" if rule.max is not None else "",
        f"without the lowest {short(rule.min_percentile)} %" if rule.min_percentile is not None else "",
        f"without the highest {short(100 - rule.max_percentile)} %" if rule.max_percentile is not None else "",
        f"one of {', '.join(map(str, rule.allowed))}" if rule.allowed is not None else "",
        f"not {', '.join(map(str, rule.forbidden))}" if rule.forbidden is not None else "",
    ]
    return " ".join(part for part in parts if part)


def _extreme(choose: Any, values: Iterable[float | None]) -> float | None:
    """The tightest of the bounds that there are."""
    there = [value for value in values if value is not None]
    return choose(there) if there else None


def _split(clips: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of the kept clips and of the others, without missing ones; words as objects."""
    values, kept = rules.column(clips, name), pc.equal(clips["state"], KEPT)
    valid = pc.invert(pc.is_null(values, nan_is_null=True))
    kind = values.type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    parts = [values.filter(pc.and_(valid, mask)) for mask in (kept, pc.invert(kept))]
    if numbers:
        first, second = (part.cast(pa.float64(), safe=False).to_numpy() for part in parts)
    else:
        first, second = (np.array([str(value) for value in part.to_pylist()], dtype=object) for part in parts)
    return first, second


def _samples(rows: pa.Table, question: Mapping[str, Any], pictures: Mapping[str, bytes]) -> list[Sample]:
    known = [*_rules(question, "gate").values(), *_rules(question, "select").values()]
    columns = {rule.column: rules.column(rows, rule.column) for rule in known}
    found = []
    for at, row in enumerate(rows.to_pylist()):
        values = {name: column[at].as_py() for name, column in columns.items()}
        times = f"{row['start_s']:.2f} to {row['end_s']:.2f} s"
        found.append(Sample(row["name"], times, _note(row, values), pictures.get(row["clip_id"])))
    return found


def _note(row: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The error, or the value that a rejected clip was rejected for."""
    if row["state"] == FAILED:
        return str(row["error"])
    words = (row["reason"] or "").split()
    for name, value in values.items():
        if name in words[:2] and value is not None:
            return f"{name} {short(value) if isinstance(value, (int, float)) else value}"
    return "" if row["reason"] is None else str(row["reason"])


def _tars(samples: pa.Table | None) -> pa.Table | None:
    """How many samples each tar holds."""
    if samples is None:
        return None
    return samples.group_by("tar").aggregate([([], "count_all")]).sort_by("tar").rename_columns(["tar", "samples"])
