"""Secrets have no place in settings and inputs, because these are written down: in plans, logs, tables and tars.

They belong in the environment or in a credentials file. What is refused here is not repeated in the message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpc_curate.errors import ConfigError

_USER = re.compile(r"://[^/\s@]+@")
_SIGNED = re.compile(
    r"([?&](?:X-(?:Amz|Goog)-[\w-]+|Signature|sig|(?:access_)?token|(?:api_?)?key|password)=)[^&\s\"]+", re.I
)
_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$")  # AWS_ACCESS_KEY_ID is none
_ASSIGNED = re.compile(r"\b([A-Z][A-Z0-9_]*)=[\"']?(?!\$|[\"'\s]|$)")  # in shell lines; `$(cat FILE)` says nothing
_SHORT = 8  # characters: less is found anywhere by chance
_WHERE = "settings are written down, in plans and logs: set it in the environment, or name a source.profile"


def in_url(text: str) -> str | None:
    """What of a secret a text holds in its URLs, in words that do not repeat it."""
    if _USER.search(text):
        return "the user or password of a URL"
    return "the signature or token of a URL" if _SIGNED.search(text) else None


def found(text: str) -> str | None:
    """The same, and the value of an environment variable whose name says that it is secret."""
    values = (name for name, value in os.environ.items() if len(value) >= _SHORT and value in text)
    named = next((name for name in values if _is_secret(name)), None)
    return in_url(text) or (f"the value of ${named}" if named else None)


def redacted(text: str) -> str:
    """A text without the users, passwords, signatures and tokens of its URLs."""
    return _SIGNED.sub(r"\1...", _USER.sub("://...@", text))


def refuse_words(words: Sequence[str]) -> None:
    """Before anything else is done with what stands on the command line.

    Raises:
        ConfigError: a word holds a secret.
    """
    for word in words:
        if what := _told(word):
            name = word.partition("=")[0]
            raise ConfigError(f"{'a word' if _told(name) else name} holds {what}; {_WHERE}")


def refuse(settings: Mapping[str, Any]) -> None:
    """Of settings as they will be saved: a resolver such as oc.env may have brought in what no word held.

    Raises:
        ConfigError: one holds a secret.
    """
    for name, text in _texts("", settings):
        if what := _told(text):
            raise ConfigError(f"{name} holds {what}; {_WHERE}")


def _told(text: str) -> str | None:
    assigned = next((match[1] for match in _ASSIGNED.finditer(text) if _is_secret(match[1])), None)
    return found(text) or (f"a value for {assigned}" if assigned else None)


def _is_secret(name: str) -> bool:
    return bool(_NAME.search(name.upper()))


def _texts(where: str, node: Any) -> Iterator[tuple[str, str]]:
    """Every text of nested settings with its full name."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            is_variable = isinstance(value, str) and str(name).isupper()
            yield from _texts(f"{where}.{name}".lstrip("."), f"{name}={value}" if is_variable else value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from _texts(where, value)
    elif isinstance(node, str):
        yield where, node
