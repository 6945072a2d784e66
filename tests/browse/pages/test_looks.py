import pytest

pytest.importorskip("streamlit")

from hpc_curate.browse.pages import looks


def test_a_sample_of_ours_has_the_name_of_its_video_and_its_seconds():
    said = {"clip_id": "a_0_9", "source": "films/night.mov", "start_s": 3.5, "end_s": 7.25}
    row = {"name": "train-000000.tar/a_0_9.mp4", "bytes": 2_000_000, **said}
    assert (looks.title(row), looks.note(row)) == ("night.mov", "3.5–7.2 s")


def test_what_the_json_of_others_says_is_taken_for_neither():
    row = {"name": "0.tar/x.mp4", "bytes": 2_000_000, "source": "youtube", "start_s": "0:03", "end_s": "0:07"}
    assert (looks.title(row), looks.note(row)) == ("x.mp4", "2.0 MB")


def test_of_an_unknown_size_nothing_is_said():
    assert looks.note({"name": "x.mp4", "bytes": None, "error": "gone"}) == "gone"
