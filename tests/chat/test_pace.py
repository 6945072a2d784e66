import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from hpc_curate.chat.pace import Pace, back_off_s, retry_after_s


def test_turns_keep_their_distance_over_all_threads():
    pace, turns = Pace(per_minute=600), []
    threads = [threading.Thread(target=lambda: turns.append((pace.turn(), time.monotonic()))) for _ in range(5)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [turn for turn, _ in turns] == [True] * 5
    assert max(at for _, at in turns) - began >= 0.4


def test_a_pause_is_for_everybody():
    pace = Pace(None)
    assert pace.turn()
    began = time.monotonic()
    pace.pause(0.3)
    pace.pause(0.1)
    assert pace.turn()
    assert time.monotonic() - began >= 0.3


def test_who_waits_for_a_turn_is_woken_by_the_end():
    pace = Pace(None)
    pace.pause(600)
    threading.Timer(0.1, pace.close).start()
    began = time.monotonic()
    assert not pace.turn()
    assert time.monotonic() - began < 120


def test_back_off_doubles_up_to_a_minute():
    for failures, most in [(1, 1), (2, 2), (3, 4), (7, 60), (50, 60)]:
        assert most / 2 <= back_off_s(failures) <= most


def test_retry_after_is_seconds_or_a_date():
    later = datetime.now(timezone.utc) + timedelta(hours=10)
    assert retry_after_s("7") == 7
    assert retry_after_s(format_datetime(later, usegmt=True)) == pytest.approx(36_000, abs=120)
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after_s(text) for text in (None, "", "soon", "-3")] == [None] * 4
