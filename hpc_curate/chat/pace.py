"""How fast requests may go out, for all threads that send them."""

from __future__ import annotations

import random
import threading
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_FIRST_S, _MOST_S = 1.0, 60.0  # of the back-off


class Pace:
    """Turns are dealt out at the rate limit, and nobody goes before the time that a server has asked for."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._next = 0.0  # when the next turn is

    def turn(self) -> bool:
        """Wait for a turn; false if there will be none any more."""
        while not self._closed.is_set():
            with self._lock:
                wait_s = self._next - time.monotonic()
                if wait_s <= 0:
                    self._next = time.monotonic() + self._gap_s
                    return True
            self._closed.wait(wait_s)
        return False

    def pause(self, seconds: float) -> None:
        """No turn for anybody before that: what a server asks one of us it means for all."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def rest(self, seconds: float) -> None:
        """Only who calls waits."""
        self._closed.wait(seconds)

    def close(self) -> None:
        self._closed.set()


def back_off_s(failures: int) -> float:
    """Twice as long each time, and by chance up to half of it less, so that not all come back at once."""
    return min(_MOST_S, _FIRST_S * 2.0 ** (failures - 1)) * (1 - random.random() / 2)


def retry_after_s(value: str | None) -> float | None:
    """What a Retry-After header asks for (RFC 9110, 10.2.3): seconds, or a date; None: nothing that can be read."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
