"""Room and permissions of the folders that a run writes to."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import stat
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_curate.planning.checks import OK, RED, SILENT, WARNING, Finding

_LITTLE_GB, _TOO_LITTLE_GB = 20.0, 1.0
_FEW_FILES, _TOO_FEW_FILES = 100_000, 1_000
_NEARLY = 0.9  # of a quota


@dataclass(frozen=True)
class Quota:
    """One line of a quota: what is used of what may be."""

    place: str
    used_gb: float
    limit_gb: float  # 0: no limit
    files: int
    limit_files: int  # 0: no limit


# -- looking -------------------------------------------------------------------------------------------------------


def cannot_write(folder: Path) -> str:
    """Why files cannot be published here as workers do it: write, rename, link. Empty where they can."""
    place = _existing(folder)
    first = place / f".doctor-{uuid.uuid4().hex}"
    second = first.with_suffix(".renamed")
    try:
        first.write_text("may I?")
        first.replace(second)
        os.link(second, first)
    except OSError as error:
        return f"{error.strerror}: {place}" if place != folder.absolute() else str(error.strerror)
    finally:
        for path in (first, second):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return ""


def room(folder: Path) -> dict[str, Any]:
    """GB and inodes that a user may still take; `error` where nobody can tell, inodes None where nobody counts them."""
    try:
        found = os.statvfs(_existing(folder))
    except OSError as error:
        return {"error": str(error.strerror), "free_gb": 0.0, "free_files": None}
    missing = "" if _existing(folder) == folder.absolute() else "no such folder"
    files = found.f_favail if found.f_files else None
    return {"error": missing, "free_gb": found.f_bavail * found.f_frsize / 1e9, "free_files": files}


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: the rest will be made."""
    absolute = folder.absolute()
    return next(place for place in (absolute, *absolute.parents) if os.path.lexists(place))


def quotas(folder: Path) -> list[Quota] | None:
    """The user's quotas where `folder` lies, from `lfs quota` on Lustre, else `quota`; None: nobody answered."""
    place, user = str(_existing(folder)), getpass.getuser()
    commands = [["lfs", "quota", "-q", "-u", user, place], ["quota", "-w", "-p", "-u", user]]
    here = [command for command in commands if shutil.which(command[0])]
    for command in here:
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        # `quota` fails where one is exceeded, and `lfs` where this is no Lustre: what counts is what can be read.
        if found := read_quotas(said.stdout):
            return found
    return None if here else []


def read_quotas(text: str) -> list[Quota]:
    """Lines `place kB quota limit grace files quota limit grace`; a long place stands in a line of its own."""
    found, place = [], ""
    for line in text.splitlines():
        words = line.split()
        if words and not re.fullmatch(r"[\[\d].*", words[0]):
            place, *words = words
        numbers = [_number(word) for word in words]
        if place and len(numbers) >= 8 and all(number is not None for number in (*numbers[:3], *numbers[4:7])):
            kilobytes, soft, hard, _, files, soft_files, hard_files, *_ = (number or 0 for number in numbers)
            limits = (hard or soft) * 1024 / 1e9, hard_files or soft_files
            found.append(Quota(place, kilobytes * 1024 / 1e9, limits[0], files, limits[1]))
    return found


def _number(word: str) -> int | None:
    """`12`, `12*` (too much), `[12]` (not exact)."""
    found = re.fullmatch(r"\[?(\d+)\]?\*?", word)
    return int(found[1]) if found else None


# -- judging -------------------------------------------------------------------------------------------------------


def check(folders: Mapping[str, Path]) -> list[Finding]:
    """Room, quota and permissions of folders, by the names of their settings."""
    findings = []
    for name, folder in folders.items():
        findings += [_room(name, room(folder)), *_quotas(name, quotas(folder)), *_permissions(name, folder)]
    umask = os.umask(0o077)
    os.umask(umask)
    readers = "nobody else may read" if umask & 0o077 == 0o077 else "others may read or list"
    return [*findings, Finding("umask", f"{umask:03o}: {readers} what is written")]


def _room(name: str, found: Mapping[str, Any]) -> Finding:
    files = found["free_files"]
    word = f"{found['free_gb']:,.0f} GB" + ("" if files is None else f", {files:,} files")
    low = found["free_gb"] < _LITTLE_GB or (files is not None and files < _FEW_FILES)
    out = found["free_gb"] < _TOO_LITTLE_GB or (files is not None and files < _TOO_FEW_FILES)
    verdict = RED if out else WARNING if low else OK
    return Finding(f"free for {name}", word, verdict, f"{name}=… on a larger file system, or clear this one" * low)


def _quotas(name: str, found: list[Quota] | None) -> list[Finding]:
    if found is None:
        return [Finding(f"quota for {name}", "no answer", SILENT, "ask the site what you may store")]
    findings = []
    for quota in found:
        share = max(
            quota.used_gb / quota.limit_gb if quota.limit_gb else 0.0,
            quota.files / quota.limit_files if quota.limit_files else 0.0,
        )
        word = f"{quota.place}: {_of(quota.used_gb, quota.limit_gb)} GB, {_of(quota.files, quota.limit_files)} files"
        verdict = RED if share >= 1 else WARNING if share >= _NEARLY else OK
        advice = "clear it, or ask the site for more" if verdict != OK else ""
        findings.append(Finding(f"quota for {name}", word, verdict, advice))
    return findings


def _of(used: float, limit: float) -> str:
    return f"{used:,.0f} of {limit:,.0f}" if limit else f"{used:,.0f} (no limit)"


def _permissions(name: str, folder: Path) -> list[Finding]:
    """Others who may write could put pickles into the run folder, and tasks would run them."""
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError:
        return []  # it is still to be made, or was found wanting already
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return [Finding(f"permissions of {name}", f"{mode:03o}: anybody may write", RED, f"chmod o-w {folder}")]
    return [Finding(f"permissions of {name}", f"{mode:03o}")]
