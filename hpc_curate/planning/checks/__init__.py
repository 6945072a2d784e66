"""What `hpc-curate doctor` looks at, one theme per file. Every check gives findings and raises nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OK, WARNING, RED, SILENT = "ok", "warning", "red", "silent"  # silent: nobody answered, so nobody knows


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    found: str
    verdict: str = OK
    advice: str = ""  # what to do; empty where it is ok


@dataclass(frozen=True)
class Section:
    """The findings of one place: Slurm, this machine, a node."""

    title: str
    findings: Sequence[Finding]


def has_red(findings: Sequence[Finding]) -> bool:
    """Whether something is sure to go wrong."""
    return any(finding.verdict == RED for finding in findings)
