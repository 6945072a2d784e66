"""A model server of our own: started on the task's node, watched, and stopped with the task."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import deque

from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.errors import ConfigError, EnvironmentFault
from hpc_curate.io import child

log = logging.getLogger(__name__)

_HEALTH = "/health"  # of vLLM and SGLang
_KEY_VARIABLE = "VLLM_API_KEY"  # where vLLM looks; an argument could be read by every user of the node
_POLL_S = (0.1, 2.0)  # between looks at a server that starts: at first, and at most
_STOP_S = 15.0  # between SIGTERM and SIGKILL
_LAST_LINES = 15
_LAST_WORDS_S = 10.0  # for what a server said before it ended; what it has started may hold the pipe


class Server:
    """One server process at a time, on a free port of loopback, with a key of its own.

    What it says is in the log of the task, line by line. If the task dies in any way, the kernel kills the server.
    """

    def __init__(self, endpoint: Endpoint, model: str, revision: str | None = None) -> None:
        self.key = secrets.token_urlsafe(24)
        self._endpoint, self._names = endpoint, {"model": model, "revision": revision or "main"}
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._port, self._starts = 0, 0
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def expect_alive(self) -> None:
        """Start it if it does not run. To be called from the main thread: the kernel ties the server to the caller.

        Raises:
            EnvironmentFault: it has died too often, or does not get ready.
            ConfigError: there is no such program.
        """
        while self._process is None or self._process.poll() is not None:
            if self._process is not None:
                self._hear_out()
                log.warning("the server has ended with status %s", self._process.returncode)
            if self._starts > self._endpoint.restarts:
                raise EnvironmentFault(f"the server died {self._starts} times; its last words: {self._words()}")
            self._start()
            self._wait_until_ready()

    def stop(self) -> None:
        """SIGTERM, a while, SIGKILL, to the whole group."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self._signal(signal.SIGKILL)  # what it has started may still be there
        self._process.wait()
        self._hear_out()
        self._process = None

    def _start(self) -> None:
        self._starts += 1
        self._port = _free_port()
        self._last.clear()
        names = {**self._names, "port": str(self._port)}
        words = [_filled(word, names) for word in self._endpoint.serve or ()]
        parent = os.getpid()
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, _KEY_VARIABLE: self.key},
                start_new_session=True,
                preexec_fn=lambda: child.die_with(parent),
            )
        except (FileNotFoundError, PermissionError) as error:
            raise ConfigError(f"endpoint.serve: {words[0]} cannot be started: {error.strerror}") from error
        log.info("server: %s, process %d", " ".join(words), self._process.pid)
        self._listener = threading.Thread(target=self._listen, args=(self._process,), name="server", daemon=True)
        self._listener.start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip().replace(self.key, "...")
                self._last.append(text)
                log.info("server: %s", text)

    def _hear_out(self) -> None:
        """Read what a server that has ended said last, before it is told or another one says more."""
        if self._listener is not None:
            self._listener.join(_LAST_WORDS_S)

    def _wait_until_ready(self) -> None:
        """Until its health check answers; back at once if it has died."""
        until, pause_s = time.monotonic() + self._endpoint.ready_s, _POLL_S[0]
        assert self._process is not None
        try:
            while self._process.poll() is None:
                if self._is_healthy():
                    log.info("the server is ready")
                    return
                if time.monotonic() > until:
                    raise EnvironmentFault(
                        f"the server is not ready after ready_s={self._endpoint.ready_s:g}; "
                        f"its last words: {self._words()}"
                    )
                time.sleep(pause_s)
                pause_s = min(1.5 * pause_s, _POLL_S[1])
        except BaseException:  # a signal too: nobody else knows of it yet
            self.stop()
            raise

    def _is_healthy(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            self.url.removesuffix("/v1") + _HEALTH, headers={"Authorization": f"Bearer {self.key}"}
        )
        try:
            with direct.open(request, timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _words(self) -> str:
        return " | ".join(self._last) or "none"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _filled(word: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _free_port() -> int:
    """One that nobody listens on; if somebody is faster, the server ends, and is started again on another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
