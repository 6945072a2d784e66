"""What stands below a tile."""

import pytest
from PIL import ImageFont

from hpc_curate.preview import mosaic

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
