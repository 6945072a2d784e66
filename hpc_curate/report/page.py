"""The first page of the report: what was asked, what became of it, what it holds, what failed and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hpc_curate.plural import counted, noun
from hpc_curate.report import charts, shapes
from hpc_curate.report.asked import changed
from hpc_curate.report.document import count, document, file_name, section, tiles
from hpc_curate.report.markup import Child, Markup, join, table, tag
from hpc_curate.report.text import clock, size
from hpc_curate.report.thresholds_page import removed
from hpc_curate.run_folder import kinds
from hpc_curate.run_folder.accounting import FAILED, TOTALS

_ROWS = 200  # of a table; the rest is in the Parquet files
_EXAMPLES = 3  # names beside a reason
_RULES = (
    "Alone: no other rule rejects these clips. First: it is the first that does, which is what is counted above. In "
    "total: whatever else rejects them."
)
_COSTS = (
    "Hours of tasks, which ran side by side. CPU hours are measured; a task holds its GPUs as long as it runs. Sizes "
    "and files are those in the run folder, with one record for each unit, before records are folded."
)


@dataclass(frozen=True)
class Page:
    """What the page tells, in its order."""

    title: str
    funnel: pa.Table  # accounting.FUNNEL
    effects: pa.Table  # thresholds.EFFECTS
    videos: pa.Table  # accounting.video_rows
    clips: pa.Table  # accounting.clip_rows
    tars: pa.Table | None  # tar, samples, bytes
    dedup: pa.Table | None  # dedup_stats
    costs: pa.Table  # as inputs.costs
    captions: pa.Table | None  # model, clips and tokens
    prompts: Mapping[str, str]  # of the captions, by name
    question: Mapping[str, Any]
    versions: Sequence[tuple[str, str]]
    links: Mapping[str, str]  # other pages of the folder
    standing: str = ""  # of a run that goes on: how far it is


def render(page: Page) -> str:
    """The whole file."""
    clips = page.clips
    sections = [
        tag("p", page.standing, class_="standing") if page.standing else None,
        _numbers(page),
        section("What became of the videos", _funnel(page.funnel)),
        section("What each rule removes", removed(page.effects), _RULES),
        section("What was asked", _question(page.question)),
        section("What came in", shapes.inputs(page.videos)),
        section("How long, how large, how wide", _shapes(clips) if clips.num_rows else None),
        section("Captions", _captions(page.captions, page.prompts) if page.captions is not None else None),
        section("Near-duplicates", _dedup(page.dedup) if page.dedup is not None else None),
        section("Failures", _failures(page.videos, clips)),
        section("Tars", _tars(page.tars) if page.tars is not None else None),
        section("Cost", _costs(page.costs), _COSTS),
        section("Versions", table(["", ""], page.versions, texts=2)),
    ]
    return document(page.title, sections, page.links)


def _numbers(page: Page) -> Markup:
    total = {row["step"]: row for row in page.funnel.to_pylist() if row["reason"] is None}
    kept, made, came = total["kept"], total["clips"], total["videos in"]["videos"]
    lost, failed = total["videos failed"]["videos"], total["clips failed"]["clips"]
    share = f", {100 * kept['clips'] / made['clips']:.1f} %" if made["clips"] else ""
    numbers = [
        (f"{came:,}", noun(came, "video")),
        (f"{made['clips']:,}", noun(made["clips"], "clip")),
        (f"{kept['clips']:,}", f"kept{share}"),
        (clock(kept["hours"]), "h:mm:ss kept"),
        (f"{lost:,}", f"{noun(lost, 'video')} failed"),
        (f"{failed:,}", f"{noun(failed, 'clip')} failed"),
    ]
    gpu_hours = sum(page.costs["gpu_hours"].to_pylist()) if page.costs.num_rows else 0
    return tiles([*numbers, (charts.short(gpu_hours), "GPU hours")] if gpu_hours else numbers)


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


def _question(question: Mapping[str, Any]) -> Markup:
    """One row for each stage, measure and cutter that differs, and everything in full below."""
    asked: dict[str, list[str]] = {f"{kind}.{name}": [] for kind in question for name in question[kind] or {}}
    for path, value, _ in changed(question):
        kind, name, rest = path.split(".", 2)
        asked[f"{kind}.{name}"].append(f"{rest}={value}")
    rows: list[list[Child]] = [
        [path, [tag("code", one) for one in settings]] for path, settings in asked.items() if settings
    ]
    others = [path.removeprefix("stage.") for path, settings in asked.items() if not settings]
    rows.append([tag("span", "as the code has it", class_="soft"), tag("span", ", ".join(others), class_="soft")])
    whole = yaml.safe_dump(dict(question), sort_keys=False, allow_unicode=True, width=100)
    return join(
        [table(["", "settings"], rows, texts=2), tag("details", tag("summary", "all settings"), tag("pre", whole))]
    )


def _shapes(clips: pa.Table) -> Markup:
    """Pictures side by side, each with its heading."""
    found = {
        "seconds": shapes.lengths(clips),
        "size of the video's picture": shapes.resolutions(clips),
        "shape of the picture": shapes.aspects(clips),
    }
    shown = [tag("div", tag("h3", heading), part) for heading, part in found.items() if part is not None]
    legend = tag(
        "div", [tag("span", tag("i", class_=f"key {k}"), text) for k, text in _COLOURS.items()], class_="legend"
    )
    return join([legend, tag("div", shown, class_="columns")])


_COLOURS = {"kept": "kept clips", "other": "other clips"}


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


def _failures(videos: pa.Table, clips: pa.Table) -> Markup | None:
    """Reasons with how many videos and clips each has taken, and some names."""
    failed = {
        "video": videos.filter(pc.equal(videos["state"], FAILED)),
        "clip": clips.filter(pc.equal(clips["state"], FAILED)),
    }
    rows: list[list[Child]] = []
    for what, those in failed.items():
        names = those["name"].to_pylist()
        errors = those["error"].fill_null("every clip failed")
        told = kinds.of_errors(errors, [those[name] for name in ("uri", "name")]).to_pylist()
        by: dict[str, list[str]] = {}
        for name, kind in zip(names, told, strict=True):
            by.setdefault(kind, []).append(name)
        for kind, mine in sorted(by.items(), key=lambda pair: (-len(pair[1]), pair[0])):
            some = list(dict.fromkeys(mine))
            rest = f" and {len(some) - _EXAMPLES:,} more" if len(some) > _EXAMPLES else ""
            shown = [[", " if at else "", file_name(name)] for at, name in enumerate(some[:_EXAMPLES])]
            rows.append([kind, [*shown, rest], counted(len(mine), what)])
    if not rows:
        return None
    return join([table(["reason", "such as", ""], rows[:_ROWS], texts=2), _more(len(rows))])


def _tars(tars: pa.Table) -> Markup:
    rows = [
        [file_name(row["tar"]), count(row["samples"]), size(row["bytes"])] for row in tars.slice(0, _ROWS).to_pylist()
    ]
    whole = [tag("b", counted(tars.num_rows, "tar")), count(pc.sum(tars["samples"]).as_py() or 0)]
    rows.append([*whole, size(pc.sum(tars["bytes"]).as_py() or 0)])
    return join([table(["tar", "samples", "size"], rows), _more(tars.num_rows)])


def _more(rows: int) -> Markup | None:
    return tag("p", f"and {rows - _ROWS:,} more", class_="soft") if rows > _ROWS else None


def _costs(costs: pa.Table) -> Markup | None:
    """A row for each stage and one for all."""
    rows = costs.to_pylist()
    if not rows:
        return None
    counts, clocks = ("units", "rows", "errors"), ("hours", "cpu_hours", "gpu_hours")
    lines: list[list[Child]] = [
        [
            r["stage"],
            *(count(r[k]) for k in counts),
            *(clock(r[k]) for k in clocks),
            size(r["bytes"]),
            count(r["files"]),
        ]
        for r in rows
    ]
    total = {key: sum(row[key] for row in rows) for key in (*clocks, "bytes", "files")}
    whole = ["", "", "", *(clock(total[key]) for key in clocks), size(total["bytes"]), count(total["files"])]
    return table(
        [*("stage", *counts), *("task h:mm:ss", "CPU", "GPU", "size", "files")], [*lines, [tag("b", "all"), *whole]]
    )


def _figure_of(value: float | None) -> str:
    return "" if value is None else charts.short(value)


def _cell(value: Any) -> str:
    return count(value) if isinstance(value, int) else "" if value is None else str(value)
