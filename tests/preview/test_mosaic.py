"""What stands below a tile."""

import pytest
from PIL import ImageFont

from hpc_curate.errors import ConfigError
from hpc_curate.preview import mosaic
from hpc_curate.preview.mosaic import Layout

FONT = ImageFont.load_default(11)
NAME = "a-very-long-name-of-a-file-from-a-far-away-place.mp4 at 12.0 s"


@pytest.mark.parametrize("stratum", ["luma_mean below 20", "duplicate"])
def test_what_a_tile_was_taken_for_is_whole_and_its_name_ends_as_it_does(stratum):
    label = mosaic._fitted((stratum, NAME), FONT, 188)
    assert label.startswith(f"{stratum}: …") and NAME.endswith(label.partition("…")[2]) and label.endswith(" s")
    assert FONT.getlength(label) <= 188


def test_a_name_that_fits_is_whole_and_a_longer_one_loses_its_beginning():
    assert mosaic._fitted(("", "one.mp4"), FONT, 188) == "one.mp4"
    assert mosaic._fitted(("kept", "one.mp4"), FONT, 188) == "kept: one.mp4"
    assert mosaic._fitted(("", NAME), FONT, 188).startswith("…")


@pytest.mark.parametrize("columns, rows, tile_px", [(10, 10, 192), (20, 20, 184), (40, 3, 98), (2, 60, 86)])
def test_tiles_become_as_small_as_browsers_need_them(columns, rows, tile_px):
    found = Layout(columns, rows, 5, 30).for_browsers()
    assert found == Layout(columns, rows, 5, 30, tile_px)
    width, height = found.size
    assert max(width, height) <= 4096 and -(-width // 16) * -(-height // 16) <= 36864


def test_more_tiles_than_a_video_can_have_are_refused():
    with pytest.raises(ConfigError, match="200 x 200 tiles are too many for a video; write a .png instead"):
        Layout(200, 200, 5, 30).for_browsers()
