"""The run as pages for people: what came in, what was thrown away and why, what is left, and what thresholds do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.io import tables
from hpc_curate.plural import counted
from hpc_curate.report import clips_page, mapped, page, pairs, thresholds, thresholds_page, versions
from hpc_curate.report.charts import short
from hpc_curate.report.choosing import Amounts, Chooser
from hpc_curate.report.clips_page import ClipsPage
from hpc_curate.report.document import Sample
from hpc_curate.report.page import Page
from hpc_curate.report.thresholds import Selection
from hpc_curate.report.thresholds_page import ThresholdsPage
from hpc_curate.report.thumbnails import small_pictures
from hpc_curate.run_folder import accounting
from hpc_curate.run_folder.accounting import FUNNEL, KEPT
from hpc_curate.stage import Merge, Tables
from hpc_curate.stages import caption

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

INDEX, CLIPS, THRESHOLDS = "index.html", "clips.html", "thresholds.html"
PAGES = {"Report": INDEX, "Clips": CLIPS, "Thresholds": THRESHOLDS}
_EVERYTHING = "**"  # in `reads`: all columns and tables that stages before it write


@dataclass(frozen=True)
class Report(Merge):
    """Checks that every video and clip is accounted for, then writes three HTML files: report, clips, thresholds.

    Table: `funnel`, the counts that the pages show.
    """

    name: ClassVar[str] = "report"
    version: ClassVar[int] = 2

    samples: int = 12  # pictures for each reason
    near: int = 4  # pictures on each side of a threshold
    reasons: int = 8  # the most frequent ones have pictures
    clusters: int = 12  # the largest ones have pictures
    per_cluster: int = 6  # pictures for each of them
    groups: int = 10  # of duplicates, the largest ones
    per_group: int = 6  # pictures for each of them
    points: int = 10_000  # clips on the map
    thumbnail_px: int = 320  # long side
    seed: int = 0  # which clips are shown

    def reads(self) -> tuple[str, ...]:
        return (_EVERYTHING,)

    def writes(self) -> dict[str, pa.Schema]:
        return {"funnel": FUNNEL}

    def run(self, model: None, inputs: Inputs) -> Tables:
        return {"funnel": self.write(inputs, inputs.report_folder(), final=True)}

    def publishes(self, inputs: Inputs) -> list[Path]:
        return [inputs.report_folder() / name for name in PAGES.values()]

    def write(self, inputs: Inputs, folder: Path, final: bool) -> pa.Table:
        """Write the pages into a folder; returns the funnel.

        Args:
            final: everything must be finished and add up; False: the run as it stands.

        Raises:
            MergeRefused: it does not add up.
        """
        selection = Selection("select", inputs.books(), inputs.question())
        funnel = accounting.funnel(selection.books, final)
        clips = accounting.clip_rows(selection.books)
        edges = inputs.table("edges") if inputs.has("edges") else None
        shown = Chooser(selection, clips, self._amounts()).shown(edges)
        choices = self._thresholds(selection, inputs, edges)
        ids = sorted(shown.clip_ids() | choices.clip_ids())
        pictures = small_pictures(inputs.frames(ids, 1) if ids else (), self.thumbnail_px)
        drawn, said = mapped.of_clips(inputs, clips, self.points, self.seed) or (None, "")
        first = self._first(selection, clips, inputs, funnel)
        files = {
            CLIPS: clips_page.render(ClipsPage(drawn, said, shown, _links(CLIPS)), pictures),
            THRESHOLDS: thresholds_page.render(choices, pictures),
            INDEX: page.render(first),
        }
        for name, text in files.items():
            tables.write_text(folder / name, text)
        return funnel

    def _amounts(self) -> Amounts:
        return Amounts(
            self.samples, self.reasons, self.clusters, self.per_cluster, self.groups, self.per_group, self.seed
        )

    def _first(self, selection: Selection, clips: pa.Table, inputs: Inputs, funnel: pa.Table) -> Page:
        return Page(
            title="hpc_curate report",
            funnel=funnel,
            effects=selection.effects,
            videos=accounting.video_rows(selection.books, clips),
            clips=clips,
            tars=_tars(inputs.table("tars", ["tar", "bytes"])) if inputs.has("tars") else None,
            dedup=inputs.table("dedup_stats") if inputs.has("dedup_stats") else None,
            costs=inputs.costs(),
            captions=caption.facts(clips.filter(pc.equal(clips["state"], KEPT))) if inputs.has("caption") else None,
            prompts=caption.prompts(selection.question),
            question=selection.question,
            versions=versions.rows(selection.question, clips),
            links=_links(INDEX),
            standing=_standing(funnel),
        )

    def _thresholds(self, selection: Selection, inputs: Inputs, edges: pa.Table | None) -> ThresholdsPage:
        return ThresholdsPage(
            title="Thresholds",
            names=[selection.name],
            counts=[selection.counts],
            effects=[selection.effects],
            cards=thresholds.cards([selection], self.near),
            correlations=thresholds.correlations(selection),
            pairs=self._borderline(selection, inputs, edges) if edges is not None else {},
            links=_links(THRESHOLDS),
        )

    def _borderline(self, selection: Selection, inputs: Inputs, edges: pa.Table) -> dict[str, list[Sample]]:
        """Pairs next to the similarity from which clips are duplicates, by method."""
        found = {}
        for method, limit in pairs.limits(inputs.table("dedup_stats"), selection.question).items():
            rows = pairs.borderline(edges, method, limit, self.near)
            found[f"Pairs next to {short(limit)}, from which {method} calls them duplicates"] = pairs.samples(
                selection, rows, limit
            )
        return found


def _links(here: str) -> dict[str, str]:
    """The pages of the folder; the one that is open leads nowhere."""
    return {title: "" if name == here else name for title, name in PAGES.items()}


def _standing(funnel: pa.Table) -> str:
    """How much of a run is still to come; empty where nothing is."""
    total = {row["step"]: row for row in funnel.to_pylist() if row["reason"] is None}
    videos, clips = total["videos pending"]["videos"], total["clips pending"]["clips"]
    parts = [counted(number, what) for number, what in ((videos, "video"), (clips, "clip")) if number]
    return f"The run is not over: {' and '.join(parts)} pending." if parts else ""


def _tars(samples: pa.Table) -> pa.Table | None:
    """How many samples each tar holds, and their bytes; None where there are no tars."""
    samples = samples.filter(pc.ends_with(samples["tar"], ".tar"))
    sums = samples.group_by("tar").aggregate([([], "count_all"), ("bytes", "sum")]).sort_by("tar")
    return sums.rename_columns(["tar", "samples", "bytes"]) if sums.num_rows else None
