"""What people say of clips: accept, reject, tags and notes, in one Parquet file for each person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from hpc_curate.plan import Plan

Word = Literal["accept", "reject"]

VERDICTS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("verdict", pa.string()),  # accept or reject; null: only a tag or a note, or taken back
        ("tags", pa.list_(pa.string())),
        ("note", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("audit", pa.bool_()),  # given blind, to a clip that chance chose
    ]
)


@dataclass(frozen=True)
class Verdict:
    """What one person says of one clip. It replaces what the same person said of it before (audits and other verdicts
    each for themselves, so that a later look does not change what an audit measured)."""

    clip_id: str
    verdict: Word | None
    tags: tuple[str, ...] = ()
    note: str = ""
    audit: bool = False
    at: datetime | None = None  # None: when it is written


@dataclass(frozen=True)
class VerdictFile:
    """One person's file. Several tabs and processes may write to it at the same time: none loses the other's rows."""

    path: Path
    by: str
    mode: int | None = None  # of the file; None: as the umask says

    def read(self) -> pa.Table:
        """Rows of `VERDICTS`; none where nothing was said yet."""
        raise NotImplementedError

    def add(self, verdicts: Sequence[Verdict]) -> pa.Table:
        """Write them down; returns all rows as they are now."""
        raise NotImplementedError


def of_run(plan: Plan, user: str | None = None) -> VerdictFile:
    """`RUN/verdicts/USER.parquet`, for those who may see the run; the user is who runs this process."""
    raise NotImplementedError


def combined(paths: Sequence[Path]) -> pa.Table:
    """What all say together: clip_id, verdict, tags (list), one row for each clip that has either, by clip_id.

    Of one person the last word counts, audit or not. Where people contradict each other, reject wins: a fault that one
    of them has seen does not go away because another has not. Tags are all of theirs.

    Args:
        paths: files, and folders of files.
    """
    raise NotImplementedError


@dataclass(frozen=True)
class DefectRate:
    """Share of rejects among the clips that were audited."""

    judged: int
    rejected: int
    rate: float
    low: float  # 95 % confidence interval
    high: float


def defect_rate(verdicts: pa.Table) -> DefectRate | None:
    """From the audits among rows of `VERDICTS`; None: nothing was audited."""
    raise NotImplementedError
