"""The report as one HTML file: no script, nothing fetched, opens from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hpc_curate.report import charts
from hpc_curate.report.document import Pictures, Sample, count, document, gallery, section, tiles
from hpc_curate.report.markup import Child, Markup, join, table, tag
from hpc_curate.report.text import clock
from hpc_curate.report.thresholds_page import removed
from hpc_curate.run_folder.accounting import FAILED, TOTALS

_ROWS = 200  # of a table; the rest is in the Parquet files


@dataclass(frozen=True)
class Page:
    """What the report tells, in its order."""

    title: str
    funnel: pa.Table  # accounting.FUNNEL
    effects: pa.Table  # thresholds.EFFECTS
    samples: Mapping[str, Sequence[Sample]]  # by heading: what they have in common
    videos: pa.Table  # accounting.video_rows
    tars: pa.Table | None  # tar and how many samples it holds
    dedup: pa.Table | None  # dedup_stats
    costs: pa.Table | None  # stage, units, rows, errors, hours
    captions: pa.Table | None  # model, clips and tokens
    prompts: Mapping[str, str]  # of the captions, by name
    question: Mapping[str, Any]
    links: Mapping[str, str]  # other pages of the folder


def render(page: Page, pictures: Pictures) -> str:
    """The whole file."""
    sections = [
        _numbers(page.funnel),
        section("What became of the videos", _funnel(page.funnel)),
        section("What each rule removes", removed(page.effects)),
        *(section(heading, gallery(samples, pictures)) for heading, samples in page.samples.items()),
        section("Captions", _captions(page.captions, page.prompts) if page.captions is not None else None),
        section("Near-duplicates", _dedup(page.dedup) if page.dedup is not None else None),
        section("Videos that failed", _failed(page.videos)),
        section("Tars", _tars(page.tars) if page.tars is not None else None),
        section("Cost", _costs(page.costs) if page.costs is not None else None),
        section("The question", tag("details", tag("summary", "all settings"), tag("pre", _yaml(page.question)))),
    ]
    return document(page.title, sections, page.links)


def _yaml(question: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(question), sort_keys=False, allow_unicode=True, width=100)


def _numbers(funnel: pa.Table) -> Markup:
    total = {row["step"]: row for row in funnel.to_pylist() if row["reason"] is None}
    kept, made = total["kept"], total["clips"]
    numbers = [
        (f"{total['videos in']['videos']:,}", "videos"),
        (f"{made['clips']:,}", "clips"),
        (f"{kept['clips']:,}", f"kept, {100 * kept['clips'] / made['clips']:.1f} %" if made["clips"] else "kept"),
        (clock(kept["hours"]), "h:mm:ss kept"),
        (f"{total['clips failed']['clips']:,}", "clips failed"),
    ]
    return tiles(numbers)


def _funnel(funnel: pa.Table) -> Markup:
    rows = funnel.to_pylist()
    most = max([row["clips"] or 0 for row in rows] + [1])
    lines: list[list[Child]] = []
    for row in rows:
        total = row["step"] in TOTALS and row["reason"] is None
        if not total and not (row["videos"] or row["clips"] or row["hours"]):
            continue
        level = "total" if total else "step" if row["reason"] is None else "reason"
        share = 100 * (row["clips"] or 0) / most
        colour = "kept" if total else "failed" if "failed" in row["step"] else "other"
        bar = tag("i", class_=f"bar {colour}", style=f"width:{share:.2f}%") if share else None
        label = tag("span", row["step"] if row["reason"] is None else row["reason"], class_=level)
        lines.append([label, bar, count(row["videos"]), count(row["clips"]), clock(row["hours"])])
    return table(["", "", "videos", "clips", "h:mm:ss"], lines[:_ROWS], texts=2)


def _dedup(stats: pa.Table) -> Markup:
    rows = stats.filter(pc.not_equal(stats["method"], "all")).to_pylist()
    by: dict[str, dict[str, Any]] = {}
    for row in rows:
        by.setdefault(row["method"], {})[row["statistic"]] = row["value"]
    measured = [[m, *(_figure_of(v.get(k)) for k in ("rows", "pairs", "threshold"))] for m, v in by.items()]
    parts = [table(["method", "clips", "pairs", "duplicates from"], measured)]
    if recall := [row for row in rows if row["statistic"] == "recall"]:
        texts = [f"{100 * row['value']:.2f} % at cosine {row['at']:g}" for row in recall]
        parts.append(tag("p", "Found of near-duplicates that were planted for the purpose: ", ", ".join(texts), "."))
    for method, values in by.items():
        bins = [row for row in rows if (row["method"], row["statistic"]) == (method, "histogram")]
        if len(bins) > 1:
            drawn = [[charts.short(row["at"]), _bar(row["value"], bins), count(int(row["value"]))] for row in bins]
            summary = tag(
                "summary", f"{method}: pairs by similarity (duplicates from {_figure_of(values['threshold'])})"
            )
            parts.append(tag("details", summary, table(["similarity from", "", "pairs"], drawn, texts=2)))
    return join(parts)


def _captions(facts: pa.Table, prompts: Mapping[str, str]) -> Markup:
    rows = [[_cell(row[name]) for name in facts.column_names] for row in facts.to_pylist()]
    asked = [tag("p", tag("b", name), ": ", text) for name, text in prompts.items()]
    return join([table(facts.column_names, rows), *asked])


def _bar(value: float, bins: Sequence[Mapping[str, Any]]) -> Markup:
    share = 100 * value / max(row["value"] for row in bins)
    return tag("i", class_="bar other", style=f"width:{share:.2f}%")


def _failed(videos: pa.Table) -> Markup | None:
    failed = videos.filter(pc.equal(videos["state"], FAILED)).select(["name", "error"]).to_pylist()
    if not failed:
        return None
    rows = [[row["name"], row["error"] or "every clip failed"] for row in failed[:_ROWS]]
    more = tag("p", f"and {len(failed) - _ROWS:,} more") if len(failed) > _ROWS else None
    return join([table(["video", "error"], rows, texts=2), more])


def _tars(tars: pa.Table) -> Markup:
    names = tars.column_names
    rows = [[_cell(row[name]) for name in names] for row in tars.slice(0, _ROWS).to_pylist()]
    more = tag("p", f"and {tars.num_rows - _ROWS:,} more") if tars.num_rows > _ROWS else None
    return join([table(names, rows), more])


def _costs(costs: pa.Table) -> Markup:
    rows = costs.to_pylist()
    lines = [[r["stage"], *(count(r[k]) for k in ("units", "rows", "errors")), clock(r["hours"])] for r in rows]
    whole = ["all", "", "", "", clock(sum(row["hours"] for row in rows))]
    return table(["stage", "units", "rows", "errors", "task h:mm:ss"], [*lines, whole])


def _figure_of(value: float | None) -> str:
    return "" if value is None else charts.short(value)


def _cell(value: Any) -> str:
    return count(value) if isinstance(value, int) else "" if value is None else str(value)
