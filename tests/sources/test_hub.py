"""The real huggingface_hub against a small hub on loopback."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("huggingface_hub")

from hpc_curate import sources  # noqa: E402
from hpc_curate.errors import BadInput, ConfigError, Unavailable  # noqa: E402
from hpc_curate.io.patience import Unreached  # noqa: E402
from hpc_curate.io.s5cmd import SourceSettings  # noqa: E402
from hpc_curate.io.transfer import Fetcher  # noqa: E402
from hpc_curate.records import Video  # noqa: E402

SETTINGS = SourceSettings(reserve_gb=0.0)
COMMIT = "c0ffee" + "0" * 34
FILES = {"train/one.mp4": b"one", "train/two.MP4": b"second", "README.md": b"---\nlicense: cc-by-4.0\n---"}


class Hub(http.server.BaseHTTPRequestHandler):
    """One dataset, someone/films, as much of the protocol as it takes to list and to fetch."""

    answers: ClassVar[list[int]] = []  # statuses that the next files get instead
    heads: ClassVar[list[int]] = []  # and the next questions about files

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/api/datasets/someone/films", f"/api/datasets/someone/films/revision/{COMMIT}"):
            self.say({"id": "someone/films", "sha": COMMIT, "cardData": {"license": "cc-by-4.0"}, "siblings": []})
        elif path.startswith(f"/api/datasets/someone/films/tree/{COMMIT}"):
            folder = path.removeprefix(f"/api/datasets/someone/films/tree/{COMMIT}").strip("/")
            found = {name: body for name, body in FILES.items() if name.startswith(folder)}
            self.say([{"type": "file", "path": n, "size": len(b), "oid": etag(b)} for n, b in found.items()])
        elif path.startswith(f"/datasets/someone/films/resolve/{COMMIT}/"):
            self.file(path.removeprefix(f"/datasets/someone/films/resolve/{COMMIT}/"))
        else:
            self.none("RepoNotFound")

    def file(self, name: str) -> None:
        if name not in FILES:
            self.none("EntryNotFound")
            return
        instead = self.answers if self.command == "GET" else self.heads
        status = instead.pop(0) if instead else 200
        if status != 200:
            self.send_error(status)
            return
        self.send_response(200)
        for key, value in {"ETag": f'"{etag(FILES[name])}"', "X-Repo-Commit": COMMIT}.items():
            self.send_header(key, value)
        self.body(FILES[name])

    def say(self, value: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.body(json.dumps(value).encode())

    def none(self, why: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", why)
        self.body(b"{}")

    def body(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def etag(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import constants

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        # The library reads its environment once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield
        server.shutdown()


def test_the_videos_of_a_dataset_come_from_the_commit_that_was_listed(hub: None, tmp_path: Path) -> None:
    rows = sources.entries("hf://datasets/someone/films", SETTINGS).to_pylist()
    assert [(row["name"], row["bytes"], row["version"]) for row in rows] == [
        ("train/one.mp4", 3, etag(b"one")),
        ("train/two.MP4", 6, etag(b"second")),
    ]
    assert json.loads(rows[0]["extra"]) == {"dataset": "someone/films", "revision": COMMIT, "licence": "cc-by-4.0"}
    with Fetcher(tmp_path, SETTINGS) as fetcher:
        video = Video("0123", rows[1]["uri"], rows[1]["name"], rows[1]["bytes"], rows[1]["version"])
        assert fetcher.get(video).read_bytes() == b"second"
        gone = Video("4567", rows[1]["uri"].replace("two", "three"), "three.mp4", -1, "")
        with pytest.raises(BadInput, match="there is no such file or revision"):
            fetcher.get(gone)


def test_a_dataset_that_is_not_there_and_a_uri_that_is_none_are_told(hub: None) -> None:
    with pytest.raises(ConfigError, match="no such dataset, or none for you; HF_TOKEN"):
        sources.entries("hf://datasets/nobody/films", SETTINGS)
    with pytest.raises(ConfigError, match="write hf://datasets/OWNER/NAME"):
        sources.entries("hf://films", SETTINGS)


def test_a_hub_that_is_down_for_a_while_is_asked_again_and_one_that_refuses_is_not(hub: None, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, pause_s=0.01, retries=2)
    rows = sources.entries("hf://datasets/someone/films", settings).to_pylist()
    video = Video("0123", rows[0]["uri"], rows[0]["name"], rows[0]["bytes"], rows[0]["version"])
    with Fetcher(tmp_path, settings) as fetcher:
        Hub.answers[:] = [404, 404]  # as a load balancer says it: no word of the hub's
        assert fetcher.get(video).read_bytes() == b"one"
        assert Hub.answers == []
    with Fetcher(tmp_path, settings) as fetcher:
        Hub.answers[:] = [401, 401]
        with pytest.raises(Unavailable, match="401"):
            fetcher.get(video)
        assert Hub.answers == [401]
        Hub.answers.clear()
    with Fetcher(tmp_path, settings) as fetcher:
        Hub.heads[:] = [500]  # then the library says that there is no such file here
        assert fetcher.get(video).read_bytes() == b"one"
        assert Hub.heads == []
    short = dataclasses.replace(video, bytes=4)
    with Fetcher(tmp_path, settings) as fetcher, pytest.raises(Unavailable, match="3 of 4 bytes came"):
        fetcher.get(short)


def test_a_hub_that_is_not_reached_has_not_said_that_there_is_no_such_file(
    hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    settings = dataclasses.replace(SETTINGS, retries=0)
    video = Video("0123", f"hf://datasets/someone/films@{COMMIT}/train/one.mp4", "one.mp4", 3, "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # what it says at once then, it says of others after minutes
    with Fetcher(tmp_path, settings) as fetcher, pytest.raises(Unreached, match="the hub does not answer"):
        fetcher.get(video)
