"""Any remote that rclone knows by its configuration: rclone://REMOTE/PATH, a folder of it or one video."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.errors import BadInput, ConfigError, CurateError, Unavailable
from hpc_curate.io.patience import UNREACHED, Unreached
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.tool import Tool, ToolFailed
from hpc_curate.io.turns import Turns
from hpc_curate.records import Video

SCHEMES = ("rclone",)
_MISSING = (3, 4)  # exit codes: no such folder, no such file
_LISTING_S = 3600.0


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.startswith("rclone://")


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """All videos below the folder, sorted by path; the version is the time of the last change.

    Raises:
        ConfigError: there are none, or rclone knows no such remote.
    """
    try:
        found = _listed(_tool(), source.rstrip("/"), ["--recursive"])
    except BadInput as error:
        raise ConfigError(f"input={source}: there is no such folder or file on the remote") from error
    found = sorted((one for one in found if sources.has_extension(one["Name"], settings)), key=lambda one: one["Path"])
    if not found:
        raise ConfigError(f"{source} holds no video; source.extensions are {', '.join(settings.extensions)}")
    # A single file is listed under its own name.
    alone = len(found) == 1 and source.endswith(f"/{found[0]['Path']}")
    uris = [source if alone else f"{source.rstrip('/')}/{one['Path']}" for one in found]
    names = [sources.printable(one["Path"]) for one in found]
    return sources.tabulate(uris, names, [(int(one["Size"]), one["ModTime"]) for one in found])


def _tool() -> Tool:
    return Tool("rclone", "install it from your distribution, or name it by HPC_CURATE_RCLONE")


def _place(uri: str) -> str:
    """REMOTE:PATH, as rclone writes it."""
    remote, _, path = uri.removeprefix("rclone://").partition("/")
    if not remote:
        raise ConfigError(f"{uri} names no remote; write rclone://REMOTE/PATH")
    return f"{remote}:{path}"


def _listed(tool: Tool, uri: str, options: list[str]) -> list[dict[str, Any]]:
    try:
        told = tool.run(["lsjson", "--files-only", *options, "--", _place(uri)], _LISTING_S)
    except ToolFailed as error:
        raise _meant(uri, error) from error
    found: list[dict[str, Any]] = json.loads(told)
    return found


def _meant(uri: str, error: ToolFailed) -> CurateError:
    if "didn't find section in config file" in error.said:
        return ConfigError(f"{uri}: rclone knows no such remote; rclone listremotes ({error.said})")
    if error.code in _MISSING:
        return BadInput(f"{uri}: there is no such file")
    kind = Unreached if re.search(UNREACHED, error.said) else Unavailable
    return kind(f"{uri}: rclone ended with code {error.code}: {error.said}")


class Transport(sources.Transport):
    """`rclone copyto`, which compares what came with the checksum where the remote has one."""

    tool = "rclone"

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        self._tool, self._settings = _tool(), settings

    @classmethod
    def version(cls, settings: SourceSettings) -> str:
        return _tool().version("version")

    def facts(self, video: Video) -> tuple[int, str]:
        found = _listed(self._tool, video.uri, [])
        if len(found) != 1:
            raise BadInput(f"{video.uri}: there is no such file")
        return int(found[0]["Size"]), found[0]["ModTime"]

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        settings = self._settings
        seconds = settings.patience_s + max(size, 0) / (settings.slowest_mb_per_s * 1e6)
        retries = ["--retries", str(settings.retries), "--retries-sleep", f"{settings.pause_s:g}s"]
        try:
            self._tool.run(["copyto", *retries, "--", _place(video.uri), str(path)], seconds)
        except ToolFailed as error:
            raise _meant(video.uri, error) from error
        if path.stat().st_size != size:
            raise Unavailable(f"{video.uri}: {path.stat().st_size} of {size} bytes came")
        return {}

    def stop(self) -> None:
        self._tool.stop()
