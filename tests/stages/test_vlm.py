"""The checklist: an answer is exactly what was asked for, or it is none."""

import json

import numpy as np
import pytest

from hpc_curate.chat.answers import Answers
from hpc_curate.chat.local_channel import Local
from hpc_curate.chat.questions import Answer
from hpc_curate.stage import Clip, Item
from hpc_curate.stages.vlm import Vlm

CHECKLIST = {"slideshow": "Still\n  pictures?", "shake": "Shaky?"}
TYPES = {"city": "streets", "other": "none of these"}
GOOD = {"slideshow": False, "shake": True, "content_type": "city"}


class Run:
    def __init__(self, folder, clips):
        self.folder, self.ids = folder, clips

    def has(self, name):
        return not name.startswith("crop_")

    def frames(self, ids, count, columns=()):
        for clip_id in ids:
            told = {name: 160.0 for name in columns}
            yield clip_id, Clip(clip_id, np.zeros((count, 4, 4, 3), np.uint8), np.arange(count) * 1.0, told)

    def answers(self):
        return Answers(self.folder / "answers.jsonl")


def asked(tmp_path, *texts, finish="stop", stage=None):
    """The row of one clip for which the model says these texts, one after another."""
    said, questions = iter(texts), []

    def model(question):
        questions.append(question)
        return Answer(question.id, next(said), finish, None, 50, 9)

    stage = stage or Vlm(criteria=CHECKLIST, content_types=TYPES)
    rows = stage.process(Local(model), Run(tmp_path, ("v_0_1",)), Item("all", ("v_0_1",)))["rows"]
    assert rows.schema == stage.writes()["rows"]
    return rows.to_pylist()[0], questions


def test_each_criterion_is_a_column(tmp_path):
    row, [question] = asked(tmp_path, json.dumps(GOOD))
    assert row == {
        "clip_id": "v_0_1",
        "vlm_slideshow": False,
        "vlm_shake": True,
        "vlm_flags": 1,
        "vlm_content_type": "city",
        "vlm_model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "vlm_input_tokens": 50,
        "vlm_output_tokens": 9,
        "error": None,
    }
    assert "- slideshow: Still pictures?" in question.text and "  - city: streets" in question.text
    assert "8 pictures are frames of one video clip of 160.0 seconds" in question.text


def test_the_server_is_told_the_only_json_that_will_do(tmp_path):
    _, [question] = asked(tmp_path, json.dumps(GOOD))
    form = question.body()["response_format"]["json_schema"]["schema"]
    assert form["required"] == list(form["properties"]) == list(GOOD)
    assert form["properties"]["content_type"]["enum"] == ["city", "other"]
    _, [free] = asked(
        tmp_path / "free",
        json.dumps({"slideshow": False, "shake": False}),
        stage=Vlm(criteria=CHECKLIST, structured=False),
    )
    assert "response_format" not in free.body()


@pytest.mark.parametrize("text", ["```json\n{}\n```", "```\n{}\n```", "  {}\n"])
def test_a_fence_around_the_whole_answer_is_no_fault(tmp_path, text):
    row, _ = asked(tmp_path, text.replace("{}", json.dumps(GOOD)))
    assert row["vlm_flags"] == 1


BAD = {
    "words": "No problems here.",
    "words before": "Sure: " + json.dumps(GOOD),
    "a key is missing": json.dumps({"slideshow": False, "content_type": "city"}),
    "a key too many": json.dumps({**GOOD, "blur": False}),
    "words for truth": json.dumps({**GOOD, "shake": "no"}),
    "numbers for truth": json.dumps({**GOOD, "shake": 0}),
    "null for truth": json.dumps({**GOOD, "shake": None}),
    "an unknown type": json.dumps({**GOOD, "content_type": "town"}),
    "a key twice": '{"shake": true, ' + json.dumps(GOOD)[1:],
    "a list": json.dumps([GOOD]),
    "cut off": json.dumps(GOOD)[:-3],
    "nothing": "",
    "null": None,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_anything_else_is_asked_again_and_then_an_error_with_no_value(tmp_path, text):
    row, questions = asked(tmp_path / "again", text, json.dumps(GOOD))
    assert (row["vlm_flags"], row["error"], row["vlm_output_tokens"]) == (1, None, 18)
    assert len(questions) == 2
    row, questions = asked(tmp_path / "never", text, text, text)
    assert len(questions) == 3
    assert row["error"].startswith("checklist: the answer ") and row["error"].endswith(", 3 times")
    assert [row[f"vlm_{name}"] for name in ("slideshow", "shake", "flags", "content_type")] == [None] * 4


def test_a_whole_answer_that_was_ended_is_none(tmp_path):
    row, _ = asked(tmp_path, *[json.dumps(GOOD)] * 3, finish="length")
    assert row["error"] == "checklist: the answer was ended by 'length' at max_tokens=512, 3 times"


@pytest.mark.parametrize("name", ["flags", "model", "content_type", "Two words", "", "input_tokens"])
def test_names_that_are_no_columns_are_refused(name):
    with pytest.raises(ValueError, match="is no name for a criterion"):
        Vlm(criteria={name: "?"})
    with pytest.raises(ValueError, match="checklist=artifacts"):
        Vlm()
