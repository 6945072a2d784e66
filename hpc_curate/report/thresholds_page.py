"""The page on which thresholds are chosen: what each rule removes, what another bound would, the clips around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips.thresholds import Effect, met, side_by_side
from hpc_curate.plural import counted, noun
from hpc_curate.report.charts import colour, short
from hpc_curate.report.document import Pictures, Sample, count, couples, document, gallery, picture, section, tiles
from hpc_curate.report.markup import Child, Markup, join, table, tag
from hpc_curate.report.thresholds import Card, Correlations, Counts, Sheet

_TERMS = (
    "Alone: no other rule rejects these clips, so they come back without this one. First: it is the first that does, "
    "in the order of the rules, which is what the funnel counts. In total: whatever else rejects them."
)
_CURVES = (
    "To the left how many clips have which value; what the bounds shut out is shaded. To the right how many clips no "
    "rule would reject if one bound lay elsewhere and all others stayed, before near-duplicates are looked for; "
    "what the gate rejected stays rejected. The dot is where it lies now, the line of an upper bound is dashed. Below "
    "the clips next to each bound, by rising value; “2 more” are the other rules that reject a clip."
)
_RANKS = (
    "Spearman's rank correlation of the clips that select judged. Two columns near 1 or −1 rank clips alike: a rule on "
    "one of them says most of what a rule on the other does."
)


@dataclass(frozen=True)
class ThresholdsPage:
    """What the page tells, in its order."""

    title: str
    names: Sequence[str]  # of the selections
    counts: Sequence[Counts]  # of each
    effects: Sequence[pa.Table]  # thresholds.EFFECTS of each
    cards: Sequence[Card]
    correlations: Correlations | None = None
    differences: Mapping[str, Sequence[Sample]] = field(default_factory=dict)  # what one keeps and another does not
    pairs: Mapping[str, Sequence[Sample]] = field(default_factory=dict)  # two after two, next to a similarity
    settings: Sequence[tuple[str, Sequence[str | None]]] = ()  # in which the plans differ, with the value of each
    plans: Sequence[str] = ()  # the hash of each
    links: Mapping[str, str] | None = None

    def clip_ids(self) -> set[str]:
        """Of the clips that are shown."""
        sheets = [sheet for card in self.cards for sheet in card.sheets]
        shown = [samples for sheet in sheets for samples in (sheet.outside, sheet.inside)]
        every = [*shown, *self.differences.values(), *self.pairs.values()]
        return {sample.clip_id for samples in every for sample in samples}


def render(page: ThresholdsPage, pictures: Pictures) -> str:
    """The whole file."""
    several = len(page.names) > 1
    effects = _compared(page.names, page.effects) if several else removed(page.effects[0])
    parts = [
        tiles(_tiles(page)),
        section("What differs", _settings(page)) if several else None,
        section("What each rule removes", effects, _TERMS),
        *(section(heading, gallery(samples, pictures)) for heading, samples in page.differences.items()),
        section("Column by column", _cards(page, pictures), _CURVES if several else [_CURVES, _legend(_COLOURS)]),
        *(section(heading, couples(samples, pictures)) for heading, samples in page.pairs.items()),
        section("Columns that rank clips alike", _correlations(page.correlations), _RANKS)
        if page.correlations
        else None,
    ]
    return document(page.title, parts, page.links)


def _tiles(page: ThresholdsPage) -> list[tuple[str, str]]:
    if len(page.names) > 1:
        named = zip(page.names, page.counts, strict=True)
        return [(count(one.kept), f"{noun(one.kept, 'clip')} kept by {name}") for name, one in named]
    (one,) = page.counts
    return [
        (count(one.clips), noun(one.clips, "clip")),
        (count(one.judged), "judged by select"),
        (count(one.passing), "pass all rules"),
        (count(one.kept), "kept, without near-duplicates"),
    ]


def removed(effects: pa.Table) -> Markup | None:
    """A bar for each reason: what it removes alone, what it removes first, and the rest."""
    if not effects.num_rows:
        return None
    most = max(pc.max(effects["clips"]).as_py(), 1)
    lines: list[list[Child]] = []
    for name in dict.fromkeys(effects["filter"].to_pylist()):
        rows = effects.filter(pc.equal(effects["filter"], name)).to_pylist()
        lines.append([tag("b", f"{name}, {counted(rows[0]['judged'], 'clip')}"), "", "", "", ""])
        for row in rows:
            if row["clips"]:
                numbers = [count(row[key]) for key in ("alone", "first", "clips")]
                lines.append([tag("span", row["reason"], class_="step"), _bars(row, most), *numbers])
        if idle := [row["reason"] for row in rows if not row["clips"]]:
            names = tag("details", tag("summary", f"{counted(len(idle), 'reason')} that no clip met"), ", ".join(idle))
            lines.append([tag("span", names, class_="step soft"), "", "0", "0", "0"])
    return join([_legend(_BARS), table(["", "", "alone", "first", "in total"], lines, texts=2)])


_COLOURS = {"kept": "kept", "other": "not kept"}
_BARS = {"alone": "alone", "first": "first, with others", "rest": "after another rule"}


def _legend(names: Mapping[str, str]) -> Markup:
    return tag(
        "span", [tag("span", tag("i", class_=f"key {name}"), text) for name, text in names.items()], class_="legend"
    )


def _bars(row: Mapping[str, int], most: int) -> Markup | None:
    # A clip that has one reason only has it first.
    sizes = {"alone": row["alone"], "first": row["first"] - row["alone"], "rest": row["clips"] - row["first"]}
    drawn = [tag("i", class_=name, style=f"width:{100 * n / most:.2f}%") for name, n in sizes.items() if n]
    return tag("div", drawn, class_="bars") if drawn else None


def _compared(names: Sequence[str], effects: Sequence[pa.Table]) -> Markup:
    def cell(one: Effect | None) -> Child:
        if one is None:
            return tag("span", "–", class_="soft")
        return [tag("span", one.threshold, class_="soft threshold"), tag("b", count(one.alone)), f" / {one.clips:,}"]

    lines = [[f"{name}: {kind}", *map(cell, row)] for (name, kind), row in side_by_side(effects).items() if met(row)]
    heads = [tag("span", _key(at), name) for at, name in enumerate(names)]
    return join(
        [tag("p", ["threshold:  ", tag("b", "alone"), " / in total"], class_="soft"), table(["", *heads], lines)]
    )


def _settings(page: ThresholdsPage) -> Markup:
    heads = [tag("span", _key(at), name) for at, name in enumerate(page.names)]
    rows = [[path, *("–" if value is None else value for value in values)] for path, values in page.settings]
    return table(["setting", *heads], [*rows, ["plan", *page.plans]], texts=1 + len(heads))


def _key(at: int) -> Markup:
    return tag("i", class_=f"key {colour(at)}")


def _cards(page: ThresholdsPage, pictures: Pictures) -> Markup | None:
    return join([_card(card, page.names, pictures) for card in page.cards]) if page.cards else None


def _card(card: Card, names: Sequence[str], pictures: Pictures) -> Markup:
    words = [_rule(who, text, names) for who, text in card.said.items()]
    if card.spread is None:
        return tag(
            "article", tag("header", tag("h3", card.column), words), tag("p", "no clip has a value", class_="soft")
        )
    charts = [tag("figure", tag("figcaption", "clips by value"), card.spread)]
    if card.survivors:
        charts.append(tag("figure", tag("figcaption", "survivors, if the bound lay here"), card.survivors))
    # A bound that rejects nobody has nothing to compare.
    sheets = [_sheet(sheet, pictures) for sheet in card.sheets if sheet.outside]
    return tag("article", tag("header", tag("h3", card.column), words), tag("div", charts, class_="charts"), sheets)


def _rule(who: str, text: str, names: Sequence[str]) -> Markup:
    key = _key(list(names).index(who)) if who in names and len(names) > 1 else None
    return tag("span", key, tag("b", who), f" {text}", class_="rule")


def _sheet(sheet: Sheet, pictures: Pictures) -> Markup:
    """Rejected clips on the one side, those that pass on the other, as on a scale."""
    side = "below" if sheet.bound.lower else "above"
    out = _half(f"{side} {short(sheet.bound.value)}: rejected", "outside", sheet.outside, pictures)
    kept = _half(
        f"{short(sheet.bound.value)} and {'more' if sheet.bound.lower else 'less'}: passes",
        "inside",
        sheet.inside,
        pictures,
    )
    return tag("div", [out, kept] if sheet.bound.lower else [kept, out], class_="sheet")


def _half(heading: str, name: str, samples: Sequence[Sample], pictures: Pictures) -> Markup:
    shown = tag("div", [picture(sample, pictures) for sample in samples], class_="strip")
    return tag("div", tag("h4", heading), shown if samples else tag("p", "no clip", class_="soft"), class_=name)


def _correlations(found: Correlations) -> Markup:
    head = tag("tr", tag("th"), [tag("th", tag("span", name)) for name in found.names])
    rows = [
        tag("tr", tag("th", name), [_cell(value) for value in row])
        for name, row in zip(found.names, found.matrix, strict=True)
    ]
    pairs = [tag("li", tag("b", f"{value:+.2f}"), f" {first} and {second}") for first, second, value in found.alike]
    listed = tag("ul", pairs, class_="pairs") if pairs else None
    return join(
        [listed, tag("div", tag("table", tag("thead", head), tag("tbody", rows), class_="matrix"), class_="scroll")]
    )


def _cell(value: float) -> Markup:
    if np.isnan(value):
        return tag("td", "")
    sign = "plus" if value >= 0 else "minus"
    strong = " strong" if abs(value) > 0.6 else ""
    return tag("td", f"{value:.2f}".replace("0.", ".", 1), class_=sign + strong, style=f"--r:{abs(value):.2f}")
