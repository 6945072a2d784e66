"""A model behind real HTTP, in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parent.parent / "support" / "chat_server.py"


@pytest.fixture
def words(tmp_path):
    """Makes the words that start the server on {port} with a script."""

    def make(**script):
        return (sys.executable, str(PROGRAM), "{port}", str(tmp_path), json.dumps(script))

    return make


@pytest.fixture
def requests(tmp_path):
    """What the server was asked, in its order."""

    def read():
        path = tmp_path / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def serve(words):
    """Starts the server and returns its URL."""
    started = []

    def start(key=None, **script):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        environment = {**os.environ, **({"VLLM_API_KEY": key} if key else {})}
        command = [word.replace("{port}", port) if word == "{port}" else word for word in words(**script)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            try:
                with direct.open(f"http://127.0.0.1:{port}/health", timeout=5):
                    return f"http://127.0.0.1:{port}/v1"
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    yield start
    for process in started:
        process.kill()
        process.wait()
