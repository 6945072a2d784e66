"""What an element makes of a worker that was at its unit before. Kills and faults of every kind: tests/faults."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from hpc_curate import units
from hpc_curate.element.worker import Allocation, Element
from hpc_curate.io import tables
from hpc_curate.plan import Plan
from hpc_curate.run_folder import claims, submissions
from hpc_curate.run_folder.ledger import Attempt, Ledger


@pytest.mark.parametrize(("word", "is_blamed"), [("interrupted", False), ("", True)])
def test_a_video_is_not_blamed_for_a_worker_that_was_killed_after_ctrl_c(
    prepared: Callable[..., Plan], word: str, is_blamed: bool
) -> None:
    line = prepared("stage=[scan]", "launch=local", units=1)
    gone = 2**22 + os.getpid()  # above what Linux gives out
    made = submissions.prepare(line, "scan", [(0,)], here=True)
    submissions.write(line.paths, replace(made, job_id=f"local-{gone}", pids=(str(gone),), word=word))
    ledger, (video,) = Ledger(line.paths), units.read(line.paths, 0)
    work = claims.Work("scan", line.static_signature("scan"), 0)
    claim = claims.take(line.paths, work, claims.Holder(job=f"local-{gone}", pid=gone), lease_s=180)
    begun = Attempt(strikes={video.video_id: line.limits.attempts - 1})
    ledger.working_on(claim, replace(begun, token=claim.token, job=claim.holder.job), video.video_id)
    assert Element(line, "scan", Allocation()).run([0]) == 0
    record = ledger.record("scan", work.signature, 0)
    assert record
    (error,) = tables.read_table(ledger.outputs(record, "videos"), ["error"])["error"].to_pylist()
    assert error.startswith("quarantined: ") == is_blamed
