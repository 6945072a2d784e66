"""Hosts of which nothing is heard: after minutes of that no video of theirs is waited for, but for one now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from hpc_curate.io.patience import Unreached

_IN_A_ROW = 3  # videos that were tried with all patience
_SILENT_S = 300.0  # since the first of them was begun: a server that starts anew is waited for
_PAUSE_S = 120.0  # between two tries of a host that is silent


class _Silent(NamedTuple):
    since_s: float
    tried_s: float
    videos: int
    said: str


class Silence:
    """What one process knows of hosts; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._silent: dict[str, _Silent] = {}

    @contextmanager
    def heeded(self, uri: str) -> Iterator[None]:
        """Around what asks the host of a video for it.

        Raises:
            Unreached: the host is silent, and it is not time for another try.
        """
        host, began_s = "/".join(uri.split("/", 3)[:3]), self._clock()
        with self._lock:
            before = self._silent.get(host, _Silent(began_s, began_s, 0, ""))
        is_silent = before.videos >= _IN_A_ROW and began_s - before.since_s >= _SILENT_S
        if is_silent and began_s - before.tried_s < _PAUSE_S:
            raise Unreached(f"not asked for, as {host} is silent; it said of another video: {before.said}")
        after = None
        try:
            yield
        except Unreached as error:
            after = _Silent(before.since_s, self._clock(), before.videos + 1, str(error))
            raise
        finally:
            with self._lock:
                self._silent.pop(host, None)
                self._silent |= {host: after} if after else {}
