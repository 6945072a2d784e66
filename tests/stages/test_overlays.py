"""The clean rectangle: what borders, logos and text that stays leave of a picture."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from hpc_curate.stage import Item
from hpc_curate.stages.overlays import CLEAN, Overlays


@dataclass
class Columns:
    """The inputs of a unit: rows by hand."""

    rows: list[dict[str, Any]]

    def clips(self, names, ids=None):
        return pa.Table.from_pylist([{"clip_id": row["clip_id"], **{n: row[n] for n in names}} for row in self.rows])


def clip(**columns):
    whole = {"crop_x": 0, "crop_y": 0, "crop_w": 1280, "crop_h": 720}
    boxes = {"watermark_boxes": [], "text_overlay_boxes": []}
    return {"clip_id": "a", "width": 1280, "height": 720, **whole, **boxes, **columns}


def cleaned(*clips, **settings):
    stage = Overlays(**settings)
    table = stage.process(None, Columns(list(clips)), Item("all", ()))["rows"]
    assert table.schema == stage.writes()["rows"]
    return table.to_pylist()


def rectangle(row):
    return tuple(row[name] for name in CLEAN)


def test_without_overlays_it_is_the_crop_of_borders():
    [row] = cleaned(clip(crop_y=90, crop_h=540))
    assert rectangle(row) == (0, 90, 1280, 540)
    assert row["clean_share"] == 0.75


def test_a_logo_and_a_subtitle_are_cut_away_together():
    boxes = {"watermark_boxes": [[0.85, 0.05, 0.95, 0.1]], "text_overlay_boxes": [[0.2, 0.85, 0.8, 0.95]]}
    [row] = cleaned(clip(**boxes), margin_share=0)
    assert rectangle(row) == (0, 72, 1280, 540)


def test_a_margin_is_kept_free_around_each_box():
    [row] = cleaned(clip(text_overlay_boxes=[[0.2, 0.9, 0.8, 1.0]]), margin_share=0.0125)
    assert rectangle(row) == (0, 0, 1280, 632)  # 648 less 16


def test_sides_are_even_and_inside():
    [row] = cleaned(clip(text_overlay_boxes=[[0.0, 0.0, 1.0, 0.0903]]), margin_share=0)
    assert rectangle(row) == (0, 66, 1280, 654)  # 65.016 pixels


def test_text_all_over_leaves_little():
    [row] = cleaned(clip(text_overlay_boxes=[[0.0, 0.3, 1.0, 0.7]]))
    assert row["clean_share"] < 0.3
    [none] = cleaned(clip(text_overlay_boxes=[[0.0, 0.0, 1.0, 1.0]]))
    assert none["clean_share"] == 0 and none["clean_w"] * none["clean_h"] == 0


def test_a_logo_that_cannot_be_told_is_none_and_text_that_is_unknown_is_unknown():
    known, unknown = cleaned(clip(watermark_boxes=None), clip(clip_id="b", text_overlay_boxes=None))
    assert known["clean_share"] == 1
    assert unknown == {"clip_id": "b", **dict.fromkeys([*CLEAN, "clean_share"])}


@pytest.mark.parametrize("place", [[-0.1, 0.4, 0.1, 0.6], [0.9, 0.4, 1.2, 0.6]])
def test_a_box_that_leaves_the_picture_costs_its_part_only(place):
    [row] = cleaned(clip(watermark_boxes=[place]), margin_share=0)
    assert row["clean_w"] == 1152
