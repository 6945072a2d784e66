"""Whether a server of the OpenAI protocol would answer, asked of real ones on loopback."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hpc_curate import config, overrides, plan
from hpc_curate.planning.checks import OK, RED, WARNING, endpoints

Judged = Callable[..., tuple[str, str, str]]


class Server(http.server.BaseHTTPRequestHandler):
    """Knows one key and one model."""

    keys: ClassVar[list[str | None]] = []

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.keys.append(self.headers["Authorization"])
        if self.path == "/away/models":
            self.send_response(302)
            self.send_header("Location", "/v1/models")
            self.end_headers()
            return
        if self.path != "/v1/models":
            self.send_error(404)
        elif self.headers["Authorization"] != "Bearer open sesame":
            self.send_error(401)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": "ours"}]}).encode())


@pytest.fixture
def url() -> Iterator[str]:
    Server.keys.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    monkeypatch.setenv("HPC_CURATE_API_KEY", "open sesame")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def judge(*words: str, works_here: bool = True) -> tuple[str, str, str]:
        config.register()
        common = ["recipe=captions", f"input={tmp_path}", f"run_dir={tmp_path / 'run'}", *words]
        made = plan.build(config.resolve(overrides.compose(list(overrides.read(common).ours))), 0)
        (found,) = endpoints.judge(endpoints.look(made), made, works_here=works_here)
        return found.verdict, found.found, found.advice

    return judge


def at(url: str) -> str:
    return f"resources.caption.endpoint.url={url}"


def test_a_server_that_has_the_model_is_ok(url: str, judged: Judged) -> None:
    assert judged(at(f"{url}/v1"), "stage.caption.model=ours") == (OK, f"{url}/v1 answers with 200", "")
    verdict, found, advice = judged(at(f"{url}/v1"), "stage.caption.model=theirs")
    assert (verdict, advice) == (WARNING, "stage.caption.model, now theirs") and "serves ours" in found


def test_a_key_that_is_refused_is_red_and_follows_nobody(
    url: str, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(at(f"{url}/away"))[0] == WARNING and Server.keys == ["Bearer open sesame"]
    monkeypatch.setenv("HPC_CURATE_API_KEY", "wrong")
    verdict, found, advice = judged(at(f"{url}/v1"))
    assert verdict == RED and "401" in found and "$HPC_CURATE_API_KEY" in advice and "wrong" not in found


def test_a_server_out_of_reach_is_red_where_tasks_run_only(judged: Judged) -> None:
    nobody = at("http://127.0.0.1:9/v1")
    assert judged(nobody)[0] == RED and judged(nobody, works_here=False)[0] == WARNING


def test_what_a_task_starts_itself_is_looked_for(judged: Judged) -> None:
    verdict, found, advice = judged("resources.caption.endpoint.serve=[no-such-server,x]")
    assert verdict == RED and found == "no-such-server is no program here" and "endpoint.url" in advice
    assert judged("resources.caption.endpoint.serve=[sh,x]")[0] == OK
