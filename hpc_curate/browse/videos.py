"""Videos of a folder, a list, a store, or of tars: listed in the background, looked at by their id."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.browse.catalogue import Catalogue, Collection, Kind, Progress, drawn
from hpc_curate.browse.media import Media, content_type
from hpc_curate.errors import BadInput, ConfigError, CurateError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import ID_PATTERN, Video, on_disk, remote, video_id
from hpc_curate.sources import folder, webdataset

_FIRST = 1000  # that are shown while the others are still looked for
_COLUMNS = 200  # of what the input says of its videos
_OWN = ("id", "name", "uri", "folder", "bytes", "container")


class Videos(Collection):
    """What `sources.entries` lists. Of local folders the first ones are there at once."""

    def __init__(self, of: str, source: str, settings: SourceSettings) -> None:
        super().__init__(of, settings)
        self.kind: Kind = "tars" if source.startswith("wds://") else "videos"
        self._source = source
        self._rows: pa.Table | None = None
        self._at: dict[str, int] = {}
        self._versions: list[str] = []
        self._progress = Progress(0, False)
        self._lock = threading.Lock()
        self._told = threading.Event()  # something was found, or will not be
        threading.Thread(target=self._list, name="listing", daemon=True).start()

    def progress(self) -> Progress:
        with self._lock:
            return self._progress

    def wait(self, seconds: float) -> None:
        self._told.wait(seconds)

    def catalogue(self, count: int | None = None, seed: int = 0) -> Catalogue:
        with self._lock:
            rows, error = self._rows, self._progress.error
        if error is not None:
            raise ConfigError(error)
        rows = pa.table({name: pa.nulls(0, pa.string()) for name in _OWN}) if rows is None else rows
        return Catalogue(drawn(rows, count, seed), rows.num_rows, self)

    def media(self, id: str) -> Media:
        with self._lock:
            row = self._at[id]
            assert self._rows is not None
            uri, name, size = (self._rows[column][row].as_py() for column in ("uri", "name", "bytes"))
            version = self._versions[row]
        if uri.startswith("wds://"):
            return self._in_tar(Video(id, uri, name, -1 if size is None else size, version))
        if remote(uri) and not uri.startswith("s3://"):
            raise BadInput(f"{name}: fetch it first: hpc-curate fetch input={self.of} run_dir=…")
        return Media(uri, name, content_type(name), bytes=size if remote(uri) else None)

    def _in_tar(self, video: Video) -> Media:
        tar, offset, size = webdataset.place(video)
        root = sources.absolute(on_disk(self._source) or "")
        name = tar.relative_to(root).as_posix() if tar.is_relative_to(root) and tar != root else tar.name
        return Media(str(tar), name, content_type(video.name), offset, size)

    def _list(self) -> None:
        try:
            self._show(self._first(), done=False)
            self._show(sources.entries(self._source, self.settings), done=True)
        except (CurateError, OSError) as error:
            with self._lock:
                self._progress = Progress(self._progress.found, True, str(error))
            self._told.set()

    def _first(self) -> pa.Table:
        """Some videos of a local folder, without a look at any."""
        if not folder.accepts(self._source, self.settings) or not sources.absolute(self._source).is_dir():
            return sources.ENTRIES.empty_table()
        root = str(sources.absolute(self._source))
        try:
            paths = list(itertools.islice(folder.walk(root, self.settings), _FIRST))
        except OSError:  # the whole listing will say it
            paths = []
        return folder.tabulated(root, paths, [sources.UNKNOWN] * len(paths))

    def _show(self, entries: pa.Table, done: bool) -> None:
        rows = _described(entries)
        # The same video may be listed twice; it is shown once.
        at = {id: row for row, id in reversed(list(enumerate(rows["id"].to_pylist())))}
        if len(at) < rows.num_rows:
            chosen = pa.array(sorted(at.values()))
            rows, entries = rows.take(chosen), entries.take(chosen)
            at = {id: row for row, id in enumerate(rows["id"].to_pylist())}
        with self._lock:
            self._rows, self._at, self._versions = rows, at, entries["version"].to_pylist()
            self._progress = Progress(rows.num_rows, done)
        if rows.num_rows:
            self._told.set()


def _described(entries: pa.Table) -> pa.Table:
    """One row for each entry: `_OWN`, and what the input says of it."""
    uris, names = entries["uri"].to_pylist(), entries["name"].to_pylist()
    sizes = [None if size < 0 else size for size in entries["bytes"].to_pylist()]
    own = {
        "id": _ids(uris, names),
        "name": names,
        "uri": uris,
        "folder": [name.rpartition("/")[0] for name in names],
        "bytes": pa.array(sizes, pa.int64()),
        "container": [name.rpartition(".")[2].lower() for name in names],
    }
    return pa.table({**own, **told(entries["extra"].to_pylist(), own)})


def _ids(uris: Sequence[str], names: Sequence[str]) -> list[str]:
    """Of a sample in a tar its key, so that a clip has one id in its run and in its tar; else that of the video."""
    both = list(zip(uris, names, strict=True))
    keys = [name.rpartition("/")[2].partition(".")[0] if uri.startswith("wds://") else "" for uri, name in both]
    times = Counter(keys)
    good = [times[key] == 1 and ID_PATTERN.match(key) for key in keys]
    return [key if fine else video_id(uri) for uri, key, fine in zip(uris, keys, good, strict=True)]


def told(extras: Sequence[str], own: Any) -> dict[str, pa.Array]:
    """Columns from JSON objects: numbers, texts and truth values as they are, all else as text.

    Args:
        own: names that are taken; a column of such a name gets `said_` in front.
    """
    if not any(extra != "{}" for extra in extras):
        return {}
    found: list[dict[str, Any]] = [json.loads(extra) for extra in extras]
    names = list(dict.fromkeys(name for one in found for name in one))[:_COLUMNS]
    return {f"said_{name}" if name in own else name: _column([one.get(name) for one in found]) for name in names}


def _column(values: list[Any]) -> pa.Array:
    plain = all(value is None or isinstance(value, bool | int | float | str) for value in values)
    try:
        return pa.array(values) if plain else pa.array([_text(value) for value in values], pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # a number here, a text there
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
