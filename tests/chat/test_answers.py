"""Answers survive whoever asked for them."""

import json
import subprocess
import sys

import pytest

from hpc_curate.chat.answers import Answers
from hpc_curate.chat.questions import Answer, Question

KILLED = """
import os, signal, sys
from pathlib import Path
from hpc_curate.chat.answers import Answers
from hpc_curate.chat.questions import Answer, Question
answers = Answers(Path(sys.argv[1]))
for clip in range(50):
    question = Question(f"v_{clip}", "p", "m", "what?", ())
    answers.keep(question, Answer(question.id, f"clip {clip}", "stop"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def question(clip):
    return Question(f"v_{clip}", "p", "m", "what?", ())


def keep(answers, *clips):
    for clip in clips:
        answers.keep(question(clip), Answer(question(clip).id, f"clip {clip}", "stop", None, 5, 2))


def test_every_answer_is_there_after_a_kill(tmp_path):
    path = tmp_path / "00000.a.jsonl"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -9
    found = Answers(tmp_path / "00000.b.jsonl", [path])
    assert [found.get(question(clip)).text for clip in range(50)] == [f"clip {clip}" for clip in range(50)]
    assert found.get(question(50)) is None


def test_attempts_become_one_file_when_there_is_something_to_add(tmp_path):
    first, second = tmp_path / "00000.a.jsonl", tmp_path / "00000.b.jsonl"
    keep(Answers(first), 1, 2)
    known = Answers(second, [first])
    assert known.get(question(1)) and list(tmp_path.iterdir()) == [first]
    keep(known, 3)
    assert list(tmp_path.iterdir()) == [second]
    assert [json.loads(line)["clip_id"] for line in second.read_text().splitlines()] == ["v_1", "v_2", "v_3"]
    assert Answers(tmp_path / "c", [second]).get(question(3)) == Answer(question(3).id, "clip 3", "stop", None, 5, 2)


def test_those_of_other_signatures_are_read_and_left(tmp_path):
    other = tmp_path / "other.jsonl"
    keep(Answers(other), 1)
    before = other.read_bytes()
    known = Answers(tmp_path / "mine.jsonl", (), [other])
    assert known.get(question(1)).text == "clip 1"
    keep(known, 2)
    assert other.read_bytes() == before
    assert "v_1" not in (tmp_path / "mine.jsonl").read_text()


@pytest.mark.parametrize("torn", ['{"clip_id": "v_2", "answer": {"id": "hp', "\0\0\0\0", "[]", '{"answer": 3}'])
def test_a_torn_last_line_costs_that_line_only(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    keep(Answers(path), 1)
    path.write_text(path.read_text() + torn)
    known = Answers(tmp_path / "b.jsonl", [path])
    assert known.get(question(1)).text == "clip 1"
    assert known.get(question(2)) is None


def test_an_answer_about_another_clip_is_none_whatever_its_id(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    keep(Answers(path), 1)
    path.write_text(path.read_text().replace('"v_1"', '"v_2"'))
    assert Answers(tmp_path / "b.jsonl", [path]).get(question(1)) is None
    assert "an answer about v_2 has the id of a question about v_1" in caplog.text
