"""A host that is not there costs minutes, however many videos it has."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpc_curate.errors import BadInput, Unavailable
from hpc_curate.io.patience import Unreached
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.silence import Silence
from hpc_curate.io.transfer import Fetcher
from hpc_curate.io.turns import Turns
from hpc_curate.io.web import Web, WebSettings
from hpc_curate.records import Video


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Hosts:
    """Videos are asked for one after another; those of a host that is down take `takes_s` each."""

    def __init__(self, takes_s: float) -> None:
        self.clock, self.takes_s, self.asked = Clock(), takes_s, list[str]()
        self.silence = Silence(self.clock)

    def ask(self, uri: str, error: Exception | None = None) -> str:
        try:
            with self.silence.heeded(uri):
                self.asked.append(uri)
                self.clock.now_s += self.takes_s
                if error:
                    raise error
            return "came"
        except (BadInput, Unavailable) as caught:
            return str(caught)


DOWN = Unreached("dead.example:80 is not reached: Connection refused; tried 5 times")


def test_a_dead_host_costs_minutes_and_a_try_now_and_then() -> None:
    hosts = Hosts(takes_s=150.0)
    said = [hosts.ask(f"http://dead.example/{number}", DOWN) for number in range(1000)]
    assert len(hosts.asked) == 3 and hosts.clock.now_s == 450.0
    assert said[2] == str(DOWN) and said[3] == said[999]
    assert said[3] == f"not asked for, as http://dead.example is silent; it said of another video: {DOWN}"
    hosts.clock.now_s += 120.0
    assert [hosts.ask(f"http://dead.example/{number}", DOWN) for number in range(2)] == [str(DOWN), said[3]]
    assert hosts.ask("https://dead.example/1") == hosts.ask("http://dead.example:81/1") == "came"  # other servers


def test_a_server_that_starts_anew_is_waited_for() -> None:
    hosts = Hosts(takes_s=10.0)
    assert [hosts.ask(f"s3://bucket/{number}", DOWN) for number in range(30)] == [str(DOWN)] * 30
    assert hosts.ask("s3://bucket/30").startswith("not asked for, as s3://bucket is silent")
    hosts.clock.now_s += 120.0
    assert [hosts.ask(f"s3://bucket/{number}") for number in range(2)] == ["came", "came"]


@pytest.mark.parametrize("word", [None, BadInput("the server said 404"), Unavailable("the server said 503")])
def test_whatever_a_host_says_it_is_there(word: Exception | None) -> None:
    hosts = Hosts(takes_s=400.0)
    for _ in range(3):
        assert hosts.ask("http://flaky.example/1", DOWN) == hosts.ask("http://flaky.example/2", DOWN) == str(DOWN)
        assert hosts.ask("http://flaky.example/3", word) == str(word or "came")


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:{port}/a.mp4", r"^127\.0\.0\.1:\d+ is not reached: Connection refused; tried 1 time$"),
        ("s3://bucket/a.mp4", "^s3://bucket/a.mp4: the store is not reached .*connection refused"),
    ],
)
def test_a_fetcher_asks_a_host_that_is_not_there_no_more(
    refusing: int, uri: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    web = WebSettings(tries=1, pause_per_host_s=0.0, private_hosts=("127.0.0.1",))
    settings = SourceSettings(endpoint=f"http://127.0.0.1:{refusing}", retries=0, pause_s=0.0, reserve_gb=0.0, web=web)
    clock = Clock()
    with Fetcher(tmp_path, settings, silence=Silence(clock)) as fetcher:
        for told in (said, said, said, "^not asked for, as .* is silent; it said of another video: "):
            with pytest.raises(Unreached, match=told):
                fetcher.get(Video("0" * 20, uri.format(port=refusing), "a.mp4", -1, ""))
            clock.now_s += 101.0


def test_a_host_that_leads_to_one_that_is_not_there_is_there_itself(refusing: int, tmp_path: Path) -> None:
    settings = WebSettings(tries=1, pause_per_host_s=0.0, private_hosts=("127.0.0.1", "localhost"))
    client = Web(settings, Turns(tmp_path, settings.pause_per_host_s))
    with (
        leading_to(f"http://localhost:{refusing}/") as url,
        pytest.raises(Unavailable, match="is not reached") as caught,
    ):
        client.fetch(url, tmp_path / "file")
    assert not isinstance(caught.value, Unreached)


@contextmanager
def leading_to(target: str) -> Iterator[str]:
    """The address of a server that knows another one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
