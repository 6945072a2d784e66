"""Who may see a run: by default its owner alone; with `shareable: true` the group of the run folder, which may go on
with it as well.

Whoever may write to a run folder may have the tasks of the others do what he wants: plans hold shell lines. A run is
shared with people whom one would let use one's account, and with nobody else. What submitit un-pickles is kept from
them nevertheless.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_UMASK = {False: 0o077, True: 0o007}
_OF_THE_GROUP = stat.S_ISGID | stat.S_IRWXG


def shareable(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("shareable"))


def apply(settings: Mapping[str, Any]) -> None:
    """From now on this process, and what it starts, writes for those who may see the run."""
    os.umask(_UMASK[shareable(settings)])


@contextmanager
def written_by_me_alone() -> Iterator[None]:
    """What is made in this context nobody else may write, whatever else they may do."""
    before = os.umask(0o077)
    os.umask(before | 0o022)
    try:
        yield
    finally:
        os.umask(before)


def me() -> str:
    """Who runs this process, by the user's number: the environment may say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container without a list of users
        return str(os.getuid())


def make_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """A folder of a run: what others make in one that is shared belongs to its group."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = folder.stat()
    if shareable(settings) and facts.st_uid == os.getuid():
        folder.chmod(stat.S_IMODE(facts.st_mode) | _OF_THE_GROUP)


def warn(folder: Path, settings: Mapping[str, Any]) -> None:
    """Say it where a run folder is open to others than the setting says, or closed to those."""
    place = shlex.quote(str(folder))
    if not shareable(settings) and _is_shared(folder):
        log.warning("%s", _without_the_group(folder, place))
        return
    opened = [path for path in (folder, *_inside(folder)) if _mode(path) & _UMASK[shareable(settings)]]
    if opened:
        who = "u=rwX,g=rwX,o=" if shareable(settings) else "u=rwX,go="
        log.warning("%s: others may see or change what is in it; to stop that: chmod -R %s %s", folder, who, place)
    elif shareable(settings) and any(_mode(path) & _OF_THE_GROUP != _OF_THE_GROUP for path in _inside(folder)):
        log.warning(
            "%s was private; to share what is in it, while nothing of it is queued or running: "
            "chmod -R g+rwX %s && find %s -type d -exec chmod g+s {} +",
            *(folder, place, place),
        )


def _is_shared(folder: Path) -> bool:
    """Whether somebody has run this with `shareable: true`, or it is another's at all."""
    return folder.stat().st_uid != os.getuid() or _mode(folder) & _OF_THE_GROUP == _OF_THE_GROUP


def _without_the_group(folder: Path, place: str) -> str:
    """What to do where a group shares a run, and somebody is about to go on with it for himself alone."""
    facts = folder.stat()
    said = (
        f"{place} is shared with group {_group(facts.st_gid)}, which could neither see nor go on with what this makes"
    )
    if facts.st_uid == os.getuid():
        return f"{said}: add shareable=true, or, to end the sharing: chmod -R u=rwX,go=,g-s {place}"
    return f"{said}: add shareable=true, or give run_dir a folder of your own"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def log_folder(folder: Path, settings: Mapping[str, Any]) -> Path:
    """A folder for submitit, which un-pickles what it finds there: its user alone may write."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    folder.chmod(stat.S_ISGID | 0o750 if shareable(settings) else 0o700)
    return folder


def _inside(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
