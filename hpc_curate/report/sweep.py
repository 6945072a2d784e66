"""Several plans of a run on one page: what each selection keeps and why, and the clips on which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import rules
from hpc_curate.errors import Blocked
from hpc_curate.io import tables
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.records import digest
from hpc_curate.report import asked, thresholds, thresholds_page
from hpc_curate.report.document import Pictures, Sample
from hpc_curate.report.funnel import COLUMNS
from hpc_curate.report.thresholds import Selection
from hpc_curate.report.thresholds_page import ThresholdsPage
from hpc_curate.report.thumbnails import small_pictures
from hpc_curate.run_folder import books
from hpc_curate.run_folder.accounting import KEPT
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State

_NEAR = 4  # pictures on each side of a threshold
_DIFFERENT = 12  # pictures of clips that one selection keeps and the next does not
_THUMBNAIL_PX = 320
_SPAN = ("start_s", "end_s")
_READS_AS = "select"


def place(made: Mapping[str, Plan]) -> Path:
    """Where the page of a sweep lies in its run folder."""
    plans = list(made.values())
    return plans[0].paths.report("sweep-" + digest(sorted(plan.hash for plan in plans))) / "index.html"


def write(made: Mapping[str, Plan], file: Path) -> bool:
    """The page of some plans, by the names that they get there; False, and no page, where one has no selection."""
    if not all(_READS_AS in plan.steps for plan in made.values()):
        return False
    selections = [_selection(name, plan) for name, plan in made.items()]
    page = ThresholdsPage(
        title="Selections side by side",
        names=list(made),
        counts=[one.counts for one in selections],
        effects=[one.effects for one in selections],
        cards=thresholds.cards(selections, _NEAR),
        differences=_differences(selections),
        settings=asked.differences(list(made.values())),
        plans=[plan.hash for plan in made.values()],
    )
    tables.write_text(file, thresholds_page.render(page, _pictures(page.clip_ids(), selections, list(made.values()))))
    return True


def _selection(name: str, plan: Plan) -> Selection:
    asked = [rule.column for stage in ("gate", "select") for rule in thresholds.parsed(plan.settings, stage).values()]
    return Selection(name, books.read(plan, {*COLUMNS, *_SPAN, *rules.columns(asked)}), plan.settings)


def _differences(selections: Sequence[Selection]) -> dict[str, list[Sample]]:
    """Clips that one selection keeps and its neighbour does not, each with the reason of the latter."""
    found = {}
    for first, second in pairwise(selections):
        for one, other in ((first, second), (second, first)):
            kept, known = _kept(one), other.books.clips
            rows = kept.filter(pc.invert(pc.is_in(kept["clip_id"], _kept(other)["clip_id"].combine_chunks())))
            chosen = np.sort(np.random.default_rng(0).permutation(rows.num_rows)[:_DIFFERENT])
            some = rows.take(pa.array(chosen))
            at = pc.index_in(some["clip_id"], value_set=known["clip_id"].combine_chunks())
            notes = [reason or "not there" for reason in known["reason"].take(at).to_pylist()]
            found[f"Kept by {one.name}, not by {other.name}: {counted(rows.num_rows, 'clip')}"] = one.samples(
                some, notes
            )
    return {heading: samples for heading, samples in found.items() if samples}


def _kept(selection: Selection) -> pa.Table:
    clips = selection.books.clips
    return clips.filter(pc.equal(clips["state"], KEPT))


def _pictures(ids: set[str], selections: Sequence[Selection], plans: Sequence[Plan]) -> Pictures:
    """From the frame pack of the first plan that has the clip."""
    found: dict[str, bytes] = {}
    for selection, plan in zip(selections, plans, strict=True):
        wanted = pa.array(sorted(ids - set(found)), pa.string())
        mine = wanted.filter(pc.is_in(wanted, selection.books.clips["clip_id"].combine_chunks())).to_pylist()
        reader = Reader(State(plan, Ledger(plan.paths), verify=False), _READS_AS, 0)
        with suppress(Blocked):  # not all of its units are done: a page without pictures is better than none
            found |= small_pictures(reader.frames(mine, 1), _THUMBNAIL_PX)
    return found
