"""Errors of many videos, told in few lines."""

import pyarrow as pa

from hpc_curate.run_folder import kinds


def of(errors, *names):
    return kinds.of_errors(
        pa.chunked_array([errors], pa.string()), [pa.chunked_array([one]) for one in names]
    ).to_pylist()


def test_errors_that_differ_in_the_name_of_their_video_are_one_kind():
    uris = ["s3://in/a b.mp4", "s3://in/c.mp4"]
    said = [f"{uri}: there is no such file" for uri in uris]
    assert of(said, uris, ["a b.mp4", "c.mp4"]) == ["there is no such file"] * 2


def test_numbers_and_other_paths_tell_no_kinds_apart():
    assert of(["12 of 300 frames came", "7 of 9.5 frames came"]) == ["… of … frames came"] * 2
    assert of(["cannot open /scratch/1/x", "cannot open /scratch/2/x"]) == ["cannot open …"] * 2


def test_an_error_that_is_alone_keeps_its_words():
    said = ["decode: h264 is torn at 3.5 s", "decode: h263 is torn at 3.5 s", None]
    assert of(said) == said
