"""The run as pages for people: what came in, what was thrown away and why, what is left, and what thresholds do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.io import tables
from hpc_curate.report import page, pairs, thresholds, thresholds_page
from hpc_curate.report.charts import short
from hpc_curate.report.document import Sample
from hpc_curate.report.page import Page
from hpc_curate.report.thresholds import Selection
from hpc_curate.report.thresholds_page import ThresholdsPage
from hpc_curate.report.thumbnails import small_pictures
from hpc_curate.run_folder import accounting
from hpc_curate.run_folder.accounting import FAILED, FUNNEL, KEPT, REJECTED
from hpc_curate.stage import Merge, Tables
from hpc_curate.stages import caption
from hpc_curate.stages.select import DUPLICATE

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

INDEX, THRESHOLDS = "index.html", "thresholds.html"
_EVERYTHING = "**"  # in `reads`: all columns and tables that stages before it write


@dataclass(frozen=True)
class Report(Merge):
    """Checks that every video and clip is accounted for, then writes two HTML files: the report, and the thresholds.

    Table: `funnel`, the counts that the page shows.
    """

    name: ClassVar[str] = "report"

    samples: int = 12  # pictures for each reason
    near: int = 4  # pictures on each side of a threshold
    reasons: int = 8  # the most frequent ones have pictures
    thumbnail_px: int = 320  # long side
    seed: int = 0  # which clips are shown

    def reads(self) -> tuple[str, ...]:
        return (_EVERYTHING,)

    def writes(self) -> dict[str, pa.Schema]:
        return {"funnel": FUNNEL}

    def run(self, model: None, inputs: Inputs) -> Tables:
        selection = Selection("select", inputs.books(), inputs.question())
        funnel = accounting.funnel(selection.books, final=True)
        clips = accounting.clip_rows(selection.books)
        shown = {heading: _samples(rows, selection) for heading, rows in self._chosen(clips).items()}
        choices = self._thresholds(selection, inputs)
        ids = {sample.clip_id for samples in shown.values() for sample in samples} | choices.clip_ids()
        pictures = small_pictures(inputs.frames(sorted(ids), 1), self.thumbnail_px)
        whole = Page(
            title="hpc_curate report",
            funnel=funnel,
            effects=selection.effects,
            samples=shown,
            videos=accounting.video_rows(selection.books, clips),
            tars=_tars(selection.books.samples),
            dedup=inputs.table("dedup_stats") if inputs.has("dedup_stats") else None,
            costs=inputs.costs(),
            captions=self._captions(clips) if inputs.has("caption") else None,
            prompts=caption.prompts(selection.question),
            question=selection.question,
            links={"Report": "", "Thresholds": THRESHOLDS},
        )
        tables.write_text(inputs.report_folder() / THRESHOLDS, thresholds_page.render(choices, pictures))
        tables.write_text(inputs.report_folder() / INDEX, page.render(whole, pictures))
        return {"funnel": funnel}

    def _captions(self, clips: pa.Table) -> pa.Table:
        return caption.facts(clips.filter(pc.equal(clips["state"], KEPT)))

    def publishes(self, inputs: Inputs) -> list[Path]:
        return [inputs.report_folder() / name for name in (INDEX, THRESHOLDS)]

    def _thresholds(self, selection: Selection, inputs: Inputs) -> ThresholdsPage:
        return ThresholdsPage(
            title="Thresholds",
            names=[selection.name],
            counts=[selection.counts],
            effects=[selection.effects],
            cards=thresholds.cards([selection], self.near),
            correlations=thresholds.correlations(selection),
            pairs=self._borderline(selection, inputs),
            links={"Report": INDEX, "Thresholds": ""},
        )

    def _borderline(self, selection: Selection, inputs: Inputs) -> dict[str, list[Sample]]:
        """Pairs next to the similarity from which clips are duplicates, by method."""
        if not inputs.has("edges"):
            return {}
        edges = inputs.table("edges")
        found = {}
        for method, limit in pairs.limits(inputs.table("dedup_stats"), selection.question).items():
            rows = pairs.borderline(edges, method, limit, self.near)
            found[f"Pairs next to {short(limit)}, from which {method} calls them duplicates"] = pairs.samples(
                selection, rows, limit
            )
        return found

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


def _samples(rows: pa.Table, selection: Selection) -> list[Sample]:
    known = [*selection.rules("gate").values(), *selection.rules("select").values()]
    columns = {rule.column: rules.column(rows, rule.column) for rule in known}
    found = []
    for at, row in enumerate(rows.to_pylist()):
        values = {name: column[at].as_py() for name, column in columns.items()}
        times = f"{row['start_s']:.2f} to {row['end_s']:.2f} s"
        found.append(Sample(row["clip_id"], row["name"], times, _note(row, values)))
    return found


def _note(row: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The error, the value that a rejected clip was rejected for, or the caption."""
    if row["state"] == FAILED:
        return str(row["error"])
    words = (row["reason"] or "").split()
    for name, value in values.items():
        if name in words[:2] and value is not None:
            return f"{name} {short(value) if isinstance(value, (int, float)) else value}"
    return str(row["reason"] or row.get("caption") or "")


def _tars(samples: pa.Table | None) -> pa.Table | None:
    """How many samples each tar holds; None where there are no tars."""
    if samples is None:
        return None
    samples = samples.filter(pc.ends_with(samples["tar"], ".tar"))
    return samples.group_by("tar").aggregate([([], "count_all")]).sort_by("tar").rename_columns(["tar", "samples"])
