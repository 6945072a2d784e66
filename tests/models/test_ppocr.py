"""Text in real frames, and agreement with what the library itself finds there."""

import difflib

import numpy as np
import pytest

from hpc_curate.models import ppocr
from hpc_curate.stage import Resources

pytest.importorskip("rapidocr")


@pytest.fixture(scope="module")
def frame(footage):
    """`frame(name, second)`: uint8 [H, W, 3], at the size of a frame pack."""
    cv2 = pytest.importorskip("cv2")

    def read(name, second):
        video = cv2.VideoCapture(str(footage / name))
        video.set(cv2.CAP_PROP_POS_MSEC, 1000 * second)
        picture = video.read()[1][..., ::-1]
        scale = 640 / max(picture.shape)
        return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture

    return read


@pytest.fixture(scope="module")
def read():
    return ppocr.load(960, Resources(cpus=1))


@pytest.fixture(scope="module")
def library():
    """Text, by two engines of the library: one set up as ours is, and one as it comes."""
    from rapidocr import RapidOCR

    same = {"Det.limit_type": "max", "Det.limit_side_len": 960, "Global.use_cls": False}
    return [RapidOCR(params={"Global.log_level": "error", **settings}) for settings in (same, {})]


def area(corners):
    return sum(np.prod(box.max(axis=0) - box.min(axis=0)) for box in corners)


def test_a_title_over_footage_is_read(frame, read):
    lines = read(frame("demo.mp4", 2))
    assert lines[0].text.replace(" ", "") == "SPIRALSESSIONS" and lines[0].score > 0.9
    left, top = lines[0].corners.min(axis=0)
    right, bottom = lines[0].corners.max(axis=0)
    assert 0 < left < right < 176 and 60 < top < bottom < 120


@pytest.mark.parametrize(("name", "second"), [("demo.mp4", 2), ("bbb.mp4", 500)])
def test_the_library_finds_the_same(name, second, frame, read, library):
    picture = frame(name, second)
    lines = read(picture)
    ours = [(line.corners.tolist(), line.text) for line in lines]
    theirs, usual = (engine(np.ascontiguousarray(picture[..., ::-1])) for engine in library)
    assert ours == list(zip(theirs.boxes.tolist(), theirs.txts, strict=True))
    # As it comes, it makes small pictures larger first, which gives tighter boxes, and turns lines upside down, which
    # loses one here.
    texts = ["".join(found).upper().replace(" ", "") for found in (theirs.txts, usual.txts)]
    assert difflib.SequenceMatcher(None, *texts).ratio() > 0.8
    assert 0.9 < area(theirs.boxes) / area(usual.boxes) < 1.6


def test_a_gpu_that_the_runtime_cannot_use_is_said_aloud(caplog):
    if "CUDAExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    ppocr.load(960, Resources(gpus=1))
    assert "PP-OCRv6 runs on the processor" in caplog.text


def test_pictures_without_text_have_no_line_that_reads_like_words(frame, read):
    for name, second in (("face.mp4", 2), ("bikes.mp4", 1), ("bbb.mp4", 70)):
        assert [line for line in read(frame(name, second)) if len(line.text) > 1 and line.score > 0.7] == []
