"""A server of our own: started, found ready, watched, and gone with the task however that ends."""

import os
import signal
import subprocess
import sys

import pytest
from waiting import eventually

from hpc_curate.chat.answers import Answers
from hpc_curate.chat.asking import Asking
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.chat.http_channel import Http
from hpc_curate.chat.questions import Question
from hpc_curate.chat.server import Server
from hpc_curate.errors import ConfigError, EnvironmentFault

HELD = """
import sys, time
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.chat.server import Server
server = Server(Endpoint(serve=tuple(sys.argv[1:])), "m")
server.expect_alive()
print(server.pid, flush=True)
time.sleep(600)
"""


def question(clip):
    return Question(f"v_{clip}_{clip + 1}", "default", "m", f"what of {clip}?", (b"jpeg %d" % clip,))


def ask(words, folder, clips, **settings):
    end = Endpoint(serve=words, requests_at_once=4, ready_s=150.0, timeout_s=120.0, **settings)
    server = Server(end, "m")
    channel = Http(end, server)
    try:
        asking = Asking(channel, Answers(folder / "answers.jsonl"), lambda _, answer: answer.text)
        return [result.value for result in asking.ask(question(clip) for clip in range(clips))], server
    finally:
        channel.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(folder):
    return [int(path.stem) for path in folder.glob("*.pid")]


def test_it_is_started_for_the_first_question_and_stopped_at_the_end(words, requests, tmp_path, caplog):
    caplog.set_level("INFO")
    found, server = ask(words(), tmp_path, clips=20)
    assert len(set(found)) == 20
    assert {one["key"] for one in requests()} == {f"Bearer {server.key}"}
    [pid] = pids(tmp_path)
    assert not alive(pid)
    assert "server: loading weights" in caplog.text and "the server is ready" in caplog.text
    assert "server: my key is ..." in caplog.text and server.key not in caplog.text


def test_it_is_not_started_when_all_is_known(words, tmp_path):
    ask(words(), tmp_path, clips=3)
    for path in tmp_path.glob("*.pid"):
        path.unlink()
    (tmp_path / "answers.jsonl").rename(tmp_path / "before.jsonl")
    end = Endpoint(serve=words())
    channel = Http(end, Server(end, "m"))
    known = Answers(tmp_path / "mine.jsonl", [tmp_path / "before.jsonl"])
    assert len(list(Asking(channel, known, lambda _, answer: answer.text).ask(map(question, range(3))))) == 3
    channel.close()
    assert pids(tmp_path) == []


def test_one_that_dies_at_work_is_started_again_and_nothing_is_lost(words, requests, tmp_path, caplog):
    found, _ = ask(words(dies_at=10), tmp_path, clips=30)
    assert len(set(found)) == 30
    assert len(pids(tmp_path)) == 2 and not any(map(alive, pids(tmp_path)))
    assert "the server has ended with status 3" in caplog.text
    asked = [one["id"] for one in requests()]
    assert set(asked) == {question(clip).id for clip in range(30)}
    assert len(asked) <= 30 + 4  # those that were on their way


def test_one_that_dies_again_and_again_is_the_machines_fault(tmp_path):
    words = (sys.executable, "-c", "print('no CUDA here'); raise SystemExit(1)")
    with pytest.raises(EnvironmentFault, match="the server died 3 times; its last words: no CUDA here"):
        ask(words, tmp_path, clips=1)


def test_one_that_never_gets_ready_is_stopped(words, tmp_path):
    # A shell says it, which needs no time to start: Python may need all that there is.
    said_first = ("sh", "-c", 'echo loading weights; exec "$@"', "sh", *words(never_ready=True))
    server = Server(Endpoint(serve=said_first, ready_s=4.0), "m")
    with pytest.raises(EnvironmentFault, match="not ready after ready_s=4; its last words: loading weights"):
        server.expect_alive()
    assert not any(map(alive, pids(tmp_path)))


def test_no_such_program_is_a_wrong_setting():
    with pytest.raises(ConfigError, match="endpoint.serve: no-such-program cannot be started"):
        Server(Endpoint(serve=("no-such-program",)), "m").expect_alive()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_the_task(words, number):
    task = subprocess.Popen([sys.executable, "-c", HELD, *words()], stdout=subprocess.PIPE, text=True)
    assert task.stdout is not None
    pid = int(task.stdout.readline())
    assert alive(pid)
    task.send_signal(number)
    task.wait()
    eventually(lambda: not alive(pid))


def test_names_are_put_into_the_words(tmp_path):
    code = "import sys; print(*sys.argv[1:])"
    words = (sys.executable, "-c", code, "{model}", "--revision={revision}", '{"image": 8}')
    with pytest.raises(EnvironmentFault, match=r'last words: Qwen/x --revision=abc \{"image": 8\}'):
        Server(Endpoint(serve=words, restarts=0), "Qwen/x", "abc").expect_alive()
