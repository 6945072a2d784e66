"""Local copies of the videos at work: checked in place, or fetched to a scratch disk ahead of their turn."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hpc_curate import sources
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, EnvironmentFault, Unavailable
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.silence import Silence
from hpc_curate.io.turns import Turns
from hpc_curate.records import Video, local_path, remote

_CHANGED = "a changed source needs a new unit: give it a new name, or start a new run folder"


class Fetcher:
    """Hands out videos as local files: checked in place, or copied from the store to a scratch folder.

    Two videos at most lie on scratch: the one handed out last, and the next. A copy is gone when `get` is called for
    another video, and at the end.
    """

    def __init__(
        self, scratch: Path, settings: SourceSettings, turns: Path | None = None, silence: Silence | None = None
    ):
        """`scratch` is a private, existing folder on the node; in `turns` all who fetch take turns at hosts, and
        `silence` knows which of them were not reached before."""
        self._silence = silence or Silence()
        self._turns = Turns(turns or scratch / "turns", settings.web.pause_per_host_s)
        self._scratch = scratch
        self._settings = settings
        self._transports: dict[str, sources.Transport] = {}
        self._lock = threading.Lock()
        self._said: dict[str, dict[str, Any]] = {}
        self._worker: ThreadPoolExecutor | None = None
        self._current: tuple[str, Path] | None = None
        self._next: tuple[str, Future[Path]] | None = None

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *exception: object) -> None:
        for transport in self._transports.values():
            transport.stop()
        if self._worker:
            self._worker.shutdown(wait=True, cancel_futures=True)
        for file in self._scratch.glob("*.source*"):
            file.unlink(missing_ok=True)

    def get(self, video: Video) -> Path:
        """The video as a local file, valid until the next `get` of another video.

        Raises:
            BadInput: it is gone, no regular file, leads out of the input root, or changed since it was frozen.
            EnvironmentFault: the input is not mounted here, the scratch disk is full, or the store cannot be read.
        """
        if not remote(video.uri):
            return checked(video, self._settings.follow_links)
        if self._current and self._current[0] == video.video_id:
            return self._current[1]
        if self._current:
            self._current[1].unlink(missing_ok=True)
            self._current = None
        path = self._prefetched(video) or self._fetch(video)
        self._current = (video.video_id, path)
        return path

    def prefetch(self, video: Video) -> None:
        """Begin to copy the next video while this one is worked on; where there is no room for both, do nothing."""
        if not remote(video.uri) or self._next or self._short_of(video.bytes):
            return
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "prefetch")
        self._next = (video.video_id, self._worker.submit(self._fetch, video))

    def _prefetched(self, video: Video) -> Path | None:
        """What `prefetch` brought; None where it was another video, or where the machine was at fault."""
        if self._next is None:
            return None
        (video_id, future), self._next = self._next, None
        try:
            path = future.result()
        except (BadInput, Unavailable):
            if video_id == video.video_id:
                raise
            return None
        except EnvironmentFault:
            return None
        if video_id == video.video_id:
            return path
        path.unlink(missing_ok=True)
        return None

    def _fetch(self, video: Video) -> Path:
        with self._silence.heeded(video.uri):
            return self._brought(video)

    def _brought(self, video: Video) -> Path:
        path = self._scratch / f"{video.video_id}.source{_suffix(video.name)}"
        transport = self._transport(video.uri)
        size, version = now = transport.facts(video)
        if now != sources.UNKNOWN and (video.bytes not in (-1, size) or video.version not in ("", version)):
            raise BadInput(f"{video.name}: changed since it was frozen; {_CHANGED}")
        if missing := self._short_of(size):
            raise EnvironmentFault(
                f"{self._scratch}: {missing / 1e9:.1f} GB too little for {video.name} ({max(size, 0) / 1e9:.1f} GB) "
                f"with source.reserve_gb={self._settings.reserve_gb:g}; set resources.<stage>.scratch to a larger disk"
            )
        said = transport.fetch(video, path, size)
        self._said[video.video_id] = {"fetched_with": transport.tool, **said}
        return path

    def said(self, video: Video) -> dict[str, Any]:
        """What its source said of a video that was handed out, and the tool that brought it; nothing of local ones."""
        return self._said.get(video.video_id, {})

    def tells_licence(self, video: Video) -> bool:
        """Whether a licence that nobody named may come with the video."""
        return remote(video.uri) and self._transport(video.uri).tells_licence

    def _transport(self, uri: str) -> sources.Transport:
        scheme = uri.partition("://")[0]
        with self._lock:
            if scheme not in self._transports:
                self._transports[scheme] = sources.transports()[scheme](self._settings, self._turns)
            return self._transports[scheme]

    def _short_of(self, size: int) -> int:
        """Bytes that are missing on the scratch disk; 0: there is room."""
        free = shutil.disk_usage(self._scratch).free
        return max(0, max(size, 0) + int(self._settings.reserve_gb * 1e9) - free)


def _suffix(name: str) -> str:
    """The extension, for containers that ffmpeg knows by name only; nothing else of a foreign name becomes a path."""
    match = re.search(r"\.[A-Za-z0-9]{1,8}\Z", name)
    return match[0].lower() if match else ""


def checked(video: Video, follow_links: bool) -> Path:
    """A local video in place, if it is the regular file that was frozen.

    Raises:
        BadInput: it is gone, no regular file, leads out of the input root, or changed since it was frozen.
        EnvironmentFault: the input is not mounted here.
    """
    path = local_path(video.uri)
    root = _root(path, video.name)
    try:
        with environment_faults(video.name):
            real = os.path.realpath(path, strict=True)
            facts = Path(real).stat()
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a NUL in the name
        if isinstance(error, OSError) and error.errno == errno.ENOENT and not root.is_dir():
            raise EnvironmentFault(f"{root}: the input folder is not there; is it mounted on this node?") from error
        raise BadInput(f"{video.name}: cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    if not follow_links and not Path(real).is_relative_to(root.resolve()):
        raise BadInput(f"{video.name}: a symbolic link that leaves the input; set source.follow_links=true to allow it")
    if not stat.S_ISREG(facts.st_mode):
        raise BadInput(f"{video.name}: not a regular file")
    if not os.access(real, os.R_OK):
        raise BadInput(f"{video.name}: cannot be opened: no permission to read it")
    if video.bytes not in (-1, facts.st_size) or video.version not in ("", str(facts.st_mtime_ns)):
        raise BadInput(f"{video.name}: changed since it was frozen; {_CHANGED}")
    return Path(path)


def _root(path: str, name: str) -> Path:
    """The input root: the path without the parts that the name has."""
    return Path(path).parents[name.count("/")]
