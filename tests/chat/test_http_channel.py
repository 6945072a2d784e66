"""The channel over real HTTP, to a server in another process."""

import hashlib
import re
import threading
import time

import pytest

from hpc_curate.chat.answers import Answers
from hpc_curate.chat.asking import Asking
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.chat.http_channel import Http
from hpc_curate.chat.questions import Question
from hpc_curate.errors import EnvironmentFault

KEY = "canary-of-the-endpoint-5d02c9e8"


def question(clip):
    return Question(f"v_{clip}_{clip + 1}", "default", "m", f"what of {clip}?", (b"jpeg %d" % clip,))


def ask(url, folder, clips=1, **settings):
    """The results of some questions, by clip."""
    settings = {"requests_at_once": 8, "timeout_s": 120.0, **settings}
    channel = Http(Endpoint(url=url, **settings))
    try:
        asking = Asking(channel, Answers(folder / "answers.jsonl"), lambda _, answer: answer.text)
        return {result.question.clip_id: result for result in asking.ask(question(clip) for clip in range(clips))}
    finally:
        channel.close()


def expected(clip):
    return "clip " + hashlib.sha256(b"jpeg %d" % clip + f"what of {clip}?".encode()).hexdigest()


def test_every_clip_gets_its_own_answer_however_long_others_take(serve, requests, tmp_path):
    found = ask(serve(slow_s=0.05), tmp_path, clips=300, requests_at_once=32)
    assert {clip: result.value for clip, result in found.items()} == {
        question(clip).clip_id: expected(clip) for clip in range(300)
    }
    assert all((result.input_tokens, result.output_tokens) == (100, 10) for result in found.values())
    asked = requests()
    assert len(asked) == 300 and {one["path"] for one in asked} == {"/v1/chat/completions"}
    assert sorted(one["id"] for one in asked) == sorted(question(clip).id for clip in range(300))


def test_the_key_comes_from_the_environment_and_is_repeated_nowhere(serve, requests, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    url = serve(key=KEY)
    assert ask(url, tmp_path, key_variable="MY_KEY")["v_0_1"].error is None
    monkeypatch.setenv("MY_KEY", KEY + "x")
    with pytest.raises(EnvironmentFault, match=r"refuses the key \(401\).*wrong key Bearer \.\.\..*\$MY_KEY") as caught:
        ask(url, tmp_path / "other", key_variable="MY_KEY")
    assert KEY not in str(caught.value) + caplog.text + (tmp_path / "answers.jsonl").read_text()
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(EnvironmentFault, match="refuses the key"):
        ask(url, tmp_path / "third", key_variable="MY_KEY")
    assert [one["key"] for one in requests()] == [f"Bearer {KEY}", f"Bearer {KEY}x", None]


def test_a_server_that_asks_to_wait_is_waited_for_by_all(serve, requests, tmp_path):
    found = ask(serve(statuses=[429], retry_after="2"), tmp_path, clips=6, requests_at_once=1)
    assert [result.error for result in found.values()] == [None] * 6
    first, second, *_ = (one["at"] for one in requests())
    assert second - first >= 1.9


def test_one_that_asks_for_too_long_is_left(serve, tmp_path):
    with pytest.raises(EnvironmentFault, match="asks to come back in 3600 s, more than longest_wait_s=900"):
        ask(serve(statuses=[503], retry_after="3600"), tmp_path)


def test_faults_that_pass_are_tried_again(serve, requests, tmp_path):
    assert ask(serve(statuses=[503, 500]), tmp_path, requests_at_once=1)["v_0_1"].value == expected(0)
    assert len(requests()) == 3


def test_a_server_that_stays_away_is_the_machines_fault(serve, tmp_path):
    with pytest.raises(EnvironmentFault, match="status 502: .*, 2 times; look at the server, then retry"):
        ask(serve(statuses=[502] * 9), tmp_path, tries=2)
    with pytest.raises(EnvironmentFault, match="no answer .*refused.*, 2 times"):
        ask("http://127.0.0.1:9/v1", tmp_path / "nobody", tries=2)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"statuses": [400]}, r"the server refuses the request \(400\): "),
        ({"statuses": [500, 500]}, "status 500: .*, 2 times"),
    ],
)
def test_what_is_wrong_with_one_question_is_its_clips_error(serve, tmp_path, script, said):
    [result] = ask(serve(**script), tmp_path, tries=2).values()
    assert result.value is None
    assert re.match(said, result.error)


def test_an_answer_that_names_another_question_is_not_taken(serve, tmp_path):
    with pytest.raises(EnvironmentFault, match="the answer to another question, 2 times"):
        ask(serve(wrong_id=True), tmp_path, tries=2)


def test_an_answer_that_could_not_be_written_down_is_mended(serve, tmp_path):
    assert ask(serve(says="half \ud800 a pair"), tmp_path)["v_0_1"].value == "half ? a pair"


def test_a_redirect_is_not_followed(serve, tmp_path):
    with pytest.raises(EnvironmentFault, match="status 307"):
        ask(serve(statuses=[307]), tmp_path, tries=1)


def test_a_server_that_says_nothing_is_given_up(serve, tmp_path):
    with pytest.raises(EnvironmentFault, match="timed out"):
        ask(serve(holds_from=1), tmp_path, tries=1, timeout_s=0.3)


def test_the_rate_is_kept(serve, requests, tmp_path):
    url, began = serve(), time.time()
    ask(url, tmp_path, clips=5, requests_per_minute=300)
    # The first may be long on its way: four gaps lie between the beginning and the last.
    assert max(one["at"] for one in requests()) - began >= 0.79


def test_what_was_answered_is_there_when_the_rest_fails(serve, tmp_path):
    with pytest.raises(EnvironmentFault):
        ask(serve(statuses=[200, 200, 200, 403]), tmp_path, clips=9, requests_at_once=1)
    answers = Answers(tmp_path / "later.jsonl", [tmp_path / "answers.jsonl"])
    assert [bool(answers.get(question(clip))) for clip in range(4)] == [True, True, True, False]


def test_closing_waits_for_nobody(serve, tmp_path):
    channel = Http(Endpoint(url=serve(holds_from=1)))
    channel.send(question(0))
    assert channel.receive(0.2) is None
    began = time.monotonic()
    channel.close()
    assert time.monotonic() - began < Endpoint.timeout_s / 6
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "chat")
