"""The channel to an OpenAI-compatible endpoint. Standard library only: one POST is all that the protocol needs."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from hpc_curate import credentials
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.chat.pace import Pace, back_off_s, retry_after_s
from hpc_curate.chat.questions import ID_PREFIX, Answer, Question
from hpc_curate.chat.server import Server
from hpc_curate.errors import EnvironmentFault

_MOST_BYTES = 8 << 20  # of an answer
_OUR_ID = re.compile(ID_PREFIX + "[0-9a-f]{32}")
_OF_THE_QUESTION = {400, 413, 422}  # statuses by which a server says that the question is at fault
_OF_THE_SETTINGS = {401: "refuses the key", 403: "refuses the key", 404: "knows no such model or path"}
_SAID = 300  # characters of an error that are repeated


class _Later(Exception):
    """No answer this time.

    Args:
        after_s: how long the server asks to wait.
        of_the_question: the server is well, but not with this question.
    """

    def __init__(self, why: str, after_s: float | None = None, of_the_question: bool = False) -> None:
        super().__init__(why)
        self.why, self.after_s, self.of_the_question = why, after_s, of_the_question


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key must not follow wherever an answer points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Http:
    """Sends from threads that a stop does not wait for; their answers are taken by the thread that asks."""

    def __init__(self, endpoint: Endpoint, server: Server | None = None) -> None:
        self.at_once = endpoint.requests_at_once
        self.patience_s = endpoint.tries * (endpoint.timeout_s + endpoint.longest_wait_s)
        self._endpoint, self._server = endpoint, server
        self._pace = Pace(endpoint.requests_per_minute)
        self._key = server.key if server else os.environ.get(endpoint.key_variable)
        handlers: list[urllib.request.BaseHandler] = [NoRedirect()]
        if server:  # on loopback: no proxy has any business there
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._asked: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._came: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def send(self, question: Question) -> None:
        if self._server:
            self._server.expect_alive()
        if len(self._threads) < self.at_once:
            thread = threading.Thread(target=self._work, name="chat", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._asked.put(question)

    def receive(self, wait_s: float) -> Answer | None:
        if self._server:
            self._server.expect_alive()
        try:
            came = self._came.get(timeout=wait_s)
        except queue.Empty:
            return None
        if isinstance(came, Exception):
            raise came
        return came

    def close(self) -> None:
        self._pace.close()
        for _ in self._threads:
            self._asked.put(None)
        if self._server:
            self._server.stop()

    def _work(self) -> None:
        while (question := self._asked.get()) is not None:
            try:
                self._came.put(self._answered(question))
            except Exception as error:  # whoever asks shall hear of it, a bug too
                self._came.put(error)

    def _answered(self, question: Question) -> Answer:
        """The answer, after as many tries as it takes and may take."""
        failures = 0
        while self._pace.turn():
            try:
                return self._post(question)
            except _Later as later:
                failures += 1
                if failures >= self._endpoint.tries:
                    return self._give_up(question, later, failures)
                if later.after_s is not None:
                    self._pause(later.after_s)
                else:
                    self._pace.rest(back_off_s(failures))
        raise EnvironmentFault("the endpoint was closed")

    def _give_up(self, question: Question, later: _Later, failures: int) -> Answer:
        if later.of_the_question:
            return Answer(question.id, refused=f"{later.why}, {failures} times")
        raise EnvironmentFault(f"{self._place}: {later.why}, {failures} times; look at the server, then retry")

    def _pause(self, seconds: float) -> None:
        if seconds > self._endpoint.longest_wait_s:
            raise EnvironmentFault(
                f"{self._place} asks to come back in {seconds:.0f} s, more than longest_wait_s="
                f"{self._endpoint.longest_wait_s:g}; retry then"
            )
        self._pace.pause(seconds)

    @property
    def _place(self) -> str:
        return credentials.redacted(str(self._server.url if self._server else self._endpoint.url))

    def _post(self, question: Question) -> Answer:
        """One try.

        Raises:
            _Later: it may go better the next time.
            EnvironmentFault: it will not.
        """
        url = (self._server.url if self._server else str(self._endpoint.url)).rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json", "X-Request-Id": question.id}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(url, json.dumps(question.body()).encode(), headers)
        try:
            with self._opener.open(request, timeout=self._endpoint.timeout_s) as response:
                named = response.headers.get("X-Request-Id", "")
                return _read(question, self._content(response), named)
        except urllib.error.HTTPError as error:
            return self._refused(question, error)
        except (OSError, http.client.HTTPException) as error:
            raise _Later(f"no answer ({getattr(error, 'reason', None) or error or type(error).__name__})") from error

    def _content(self, response: Any) -> bytes:
        """The whole body within the time limit, which a socket's own timeout would grant to each byte."""
        until = time.monotonic() + self._endpoint.timeout_s
        blocks, size = [], 0
        while block := response.read1(1 << 16):
            blocks.append(block)
            size += len(block)
            if size > _MOST_BYTES:
                raise _Later(f"an answer of more than {_MOST_BYTES >> 20} MiB")
            if time.monotonic() > until:
                raise _Later("an answer that does not end")
        return b"".join(blocks)

    def _refused(self, question: Question, error: urllib.error.HTTPError) -> Answer:
        said = self._said(error)
        if error.code in _OF_THE_QUESTION:
            return Answer(question.id, refused=f"the server refuses the request ({error.code}): {said}")
        if error.code in _OF_THE_SETTINGS:
            what = _OF_THE_SETTINGS[error.code]
            hint = "" if self._server else f"; see endpoint.url, model and ${self._endpoint.key_variable}"
            raise EnvironmentFault(f"{self._place} {what} ({error.code}): {said}{hint}")
        after_s = retry_after_s(error.headers.get("Retry-After")) if error.headers else None
        # 500 is a server that is there and cannot cope with this; the others of 5xx speak of the server.
        raise _Later(f"status {error.code}: {said}", after_s, of_the_question=error.code == 500)

    def _said(self, error: urllib.error.HTTPError) -> str:
        """The server's own words, without the key, which some repeat."""
        try:
            text = error.read(1 << 16).decode(errors="replace")
        except OSError:
            return ""
        if self._key:
            text = text.replace(self._key, "...")
        return credentials.redacted(" ".join(text.split()))[:_SAID]


def _read(question: Question, content: bytes, named: str) -> Answer:
    """The answer in the body of a response.

    Raises:
        _Later: it is none, or names another question of ours.
    """
    try:
        told = json.loads(content)
        choice, usage = told["choices"][0], told.get("usage") or {}
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Later("an answer that is no chat completion", of_the_question=True) from error
    # Servers that repeat our id (vLLM: in `id`) leave a second proof that this is the answer to that question.
    others = {found for found in _OUR_ID.findall(f"{named} {told.get('id')}") if found != question.id}
    if others:
        raise _Later("the answer to another question")
    refused = f"the model refuses: {str(refusal)[:_SAID]}" if refusal else None
    # Half of a surrogate pair is valid JSON, and no text that could be written down.
    text = text.encode(errors="replace").decode() if isinstance(text, str) else None
    return Answer(question.id, text, choice.get("finish_reason"), refused, *counts)
