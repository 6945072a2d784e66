"""A model behind real HTTP, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import eventually

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
def serve(words, tmp_path):
    """Starts the server and returns its URL."""
    started = []

    def start(key=None, **script):
        environment = {**os.environ, **({"VLLM_API_KEY": key} if key else {})}
        command = [word.replace("{port}", "0") for word in words(**script)]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        written = tmp_path / f"{started[-1].pid}.pid"
        eventually(lambda: written.exists() and written.read_text().endswith("\n"))
        return f"http://127.0.0.1:{int(written.read_text())}/v1"

    yield start
    for process in started:
        process.kill()
        process.wait()
