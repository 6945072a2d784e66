"""Videos and clips by their lengths, sizes and shapes."""

import pyarrow as pa

from hpc_curate.report import shapes


def clips(**columns):
    return pa.table({"state": ["kept", "kept", "rejected"], "duration_s": [2.0, 4.0, 8.0], **columns})


def test_a_picture_is_called_by_the_nearest_shape():
    found = shapes.aspects(clips(crop_w=[1920, 1900, 720], crop_h=[1080, 1080, 1280]))
    assert ">16:9<" in found and ">9:16<" in found
    assert ">4:3<" not in found


def test_sizes_are_those_of_the_video():
    found = shapes.resolutions(clips(width=[1920, 1920, None], height=[1080, 1080, None]))
    assert '>1920 × 1080</td><td><div class="bars"><i class="kept" style="width:100.00%">' in found
    assert ">unknown<" in found


def test_what_was_never_measured_is_not_drawn():
    assert shapes.aspects(clips()) is None
    assert shapes.resolutions(clips()) is None
    assert shapes.lengths(clips().slice(3)) is None


def test_videos_are_counted_by_codec_and_those_nobody_could_open_are_unknown():
    kinds = {"codec": ["h264", "h264", None], "container": ["mov", "mov", None]}
    videos = pa.table({**kinds, "bytes": [1000, 2000, 5], "duration_s": [1800.0, 1800.0, None]})
    found = shapes.inputs(videos)
    assert '>h264 in mov</td><td class="n">2</td><td class="n">1:00:00</td><td class="n">3 kB<' in found
    assert '>unknown</td><td class="n">1</td><td class="n">?</td>' in found
