"""The AWS CLI as a client of an object store.

What it does that must be met: a parameter that begins with file:// is read from that file, so keys go in as JSON;
listings of millions of keys are held in memory unless they are text; a pager would wait for a person; newer versions
ask for checksums that other stores than Amazon's do not have. Credentials come from the environment or a profile, never
from argv. How many connections it opens is a matter of its own configuration (s3.max_concurrent_requests).
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Iterator
from typing import IO

from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.tool import Tool

_ADVICE = "install awscli from your distribution or from Amazon, or take source.s3_tool=s5cmd"
_ONLY_WHERE_NEEDED = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


class AwsCli:
    """What the AWS CLI is told, and what its answers mean."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        environment = {"AWS_PAGER": "", "AWS_MAX_ATTEMPTS": str(settings.retries), "AWS_RETRY_MODE": "standard"}
        if settings.endpoint:
            environment |= {name: os.environ.get(name, value) for name, value in _ONLY_WHERE_NEEDED.items()}
        self.tool = Tool("aws", _ADVICE, environment)
        self.asks_version: tuple[str, ...] = ("--version",)

    def _told(self, *words: str) -> list[str]:
        endpoint = ["--endpoint-url", self._settings.endpoint] if self._settings.endpoint else []
        profile = ["--profile", self._settings.profile] if self._settings.profile else []
        return [*words, *endpoint, *profile]

    def listing(self, prefix: str) -> list[str]:
        # Encoded, because a key may hold a line break; as text, because that is printed page by page.
        asked = {**_place(prefix, "Prefix"), "EncodingType": "url"}
        columns = ["--output", "text", "--query", "Contents[].[Size,ETag,Key]"]
        return self._told("s3api", "list-objects-v2", "--cli-input-json", json.dumps(asked), *columns)

    def listed(self, prefix: str, output: IO[bytes]) -> Iterator[tuple[str, int, str]]:
        """URI, bytes and ETag."""
        bucket = prefix.removeprefix("s3://").partition("/")[0]
        for line in output:
            words = line.decode().rstrip("\n").split("\t")
            if len(words) == 3:  # a page without keys says None
                yield f"s3://{bucket}/{urllib.parse.unquote_plus(words[2])}", int(words[0]), words[1].strip('"')

    def head(self, uri: str) -> list[str]:
        asked = json.dumps(_place(uri, "Key"))
        return self._told("s3api", "head-object", "--cli-input-json", asked, "--output", "json")

    def headed(self, output: IO[bytes]) -> tuple[int, str]:
        found = json.load(output)
        return int(found["ContentLength"]), found.get("ETag", "").strip('"')

    def presign(self, uri: str, seconds: int) -> list[str]:
        return self._told("s3", "presign", uri, "--expires-in", str(seconds))

    def copy(self, source: str, target: str) -> list[str]:
        return self._told("s3", "cp", "--only-show-errors", "--no-progress", source, target)

    def complaint(self, text: str) -> str:
        """What it said, without the lines between."""
        return " ".join(text.split())[-300:]


def _place(uri: str, name: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, name: key}
