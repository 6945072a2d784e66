"""Parts of objects of a store, as they are asked for.

The tools that talk to a store read objects from their beginning (s5cmd), or one part for each start of a program (the
AWS CLI); but both sign addresses. A part is had by a plain HTTP request with a range, and the credentials stay with
the tool.
"""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator
from typing import IO

from hpc_curate.errors import BadInput, EnvironmentFault
from hpc_curate.io.object_store import ObjectStore

_BLOCK = 1 << 18
_SILENCE_S = 30.0
_SIGNED_S = 3600  # that an address holds
_FRESH_S = 3000.0  # that it is used
_ADDRESSES = 1024


class RangedReader:
    """Reads parts of objects; safe to use from several threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._signed: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def blocks(self, uri: str, start: int, count: int) -> Iterator[bytes]:
        """`count` bytes from `start` on, a block at a time; the answer has begun when this returns.

        Raises:
            BadInput: there is no such object, it is shorter, or its name cannot be signed.
            EnvironmentFault: no credentials, or no answer.
        """
        if not count:
            return iter(())
        return _copied(uri, self._answer(uri, start, count), count)

    def _answer(self, uri: str, start: int, count: int) -> http.client.HTTPResponse:
        asked = {"Range": f"bytes={start}-{start + count - 1}"}
        for again in (False, True):
            request = urllib.request.Request(self._address(uri, anew=again), headers=asked)
            try:
                answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SILENCE_S)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 403 and not again:  # signed with credentials that have expired since
                    continue
                # Never the address: whoever has it can read the object.
                kind = BadInput if error.code in (404, 416) else EnvironmentFault
                raise kind(f"{uri}: the store said {error.code} {error.reason}") from None
            except (OSError, http.client.HTTPException) as error:
                raise EnvironmentFault(f"{uri}: the store does not answer ({type(error).__name__})") from None
            if answer.status != 206 and start:
                answer.close()
                raise EnvironmentFault(f"{uri}: the store sends no parts of objects")
            return answer
        raise AssertionError("unreachable")

    def _address(self, uri: str, anew: bool) -> str:
        now = time.monotonic()
        with self._lock:
            signed_at, address = self._signed.get(uri, (-_FRESH_S, ""))
        if anew or now - signed_at >= _FRESH_S:
            address = self._store.presigned(uri, _SIGNED_S)
            with self._lock:
                self._signed[uri] = (now, address)
                if len(self._signed) > _ADDRESSES:
                    self._signed.popitem(last=False)
        return address


def _copied(uri: str, answer: IO[bytes], count: int) -> Iterator[bytes]:
    with answer:
        while count and (block := answer.read(min(count, _BLOCK))):
            count -= len(block)
            yield block
    if count:
        raise EnvironmentFault(f"{uri}: the store broke off, {count} bytes early")
