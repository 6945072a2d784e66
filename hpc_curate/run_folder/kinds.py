"""Errors by what went wrong: names of files and numbers tell items apart, not reasons."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

_ANY = "…"
_PATH_OR_NUMBER = re.compile(r"(?:[a-z][a-z0-9+.-]*:/)?/[^\s:;,]+|(?<![\w.])\d[\d.,]*(?![\w])")


def of_errors(errors: pa.ChunkedArray, names: Sequence[pa.ChunkedArray] = ()) -> pa.Array:
    """string [N]: each error as it is, or, of several that differ in names and numbers only, what they share.

    Args:
        names: of the item that each error is about, such as its URI.
    """
    columns = [column.to_pylist() for column in names]
    texts = errors.to_pylist()
    kinds = [text and _kind(text, [column[at] for column in columns]) for at, text in enumerate(texts)]
    members: dict[str | None, set[str | None]] = {}
    for kind, text in zip(kinds, texts, strict=True):
        members.setdefault(kind, set()).add(text)
    told = [kind if len(members[kind]) > 1 else text for kind, text in zip(kinds, texts, strict=True)]
    return pa.array(told, pa.string())


def _kind(text: str, names: Sequence[str | None]) -> str:
    for name in sorted(filter(None, names), key=len, reverse=True):  # a URI may end with the name
        text = text.replace(name, _ANY)
    return _PATH_OR_NUMBER.sub(_ANY, text).removeprefix(f"{_ANY}: ")
