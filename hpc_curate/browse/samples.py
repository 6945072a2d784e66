"""Samples of finished tars in an object store, as their index says where they lie: nothing is downloaded to list them.

What the json of each sample says is in the tars and is not read: that would be a request for each.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hpc_curate.browse.catalogue import Catalogue, Collection, Kind, Progress, drawn
from hpc_curate.browse.media import Media
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import ID_PATTERN

_COLUMNS = ["sample", "tar", "mp4_offset", "mp4_bytes"]


class Samples(Collection):
    """The rows of an index."""

    kind: Kind = "tars"

    def __init__(self, of: str, settings: SourceSettings, index: pa.Table) -> None:
        super().__init__(of, settings)
        ids = index["sample"].to_pylist()
        names = [f"{tar}/{sample}.mp4" for tar, sample in zip(index["tar"].to_pylist(), ids, strict=True)]
        self._rows = pa.table({"id": ids, "name": names, "tar": index["tar"], "bytes": index["mp4_bytes"]})
        self._offsets = index["mp4_offset"]
        self._at = {id: row for row, id in enumerate(ids)}

    def progress(self) -> Progress:
        return Progress(self._rows.num_rows, True)

    def catalogue(self, count: int | None = None, seed: int = 0) -> Catalogue:
        return Catalogue(drawn(self._rows, count, seed), self._rows.num_rows, self)

    def media(self, id: str) -> Media:
        row = self._at[id]
        tar, size = self._rows["tar"][row].as_py(), self._rows["bytes"][row].as_py()
        return Media(f"{self.of.rstrip('/')}/{tar}", tar, "video/mp4", self._offsets[row].as_py(), size)


def index_of(prefix: str, settings: SourceSettings) -> pa.Table | None:
    """The index of a data set below s3://bucket/prefix; None: there is none.

    Raises:
        ConfigError: there is no such bucket, or what is there is no index.
        EnvironmentFault: no credentials, or no answer.
    """
    store, uri = ObjectStore(settings), f"{prefix.rstrip('/')}/index.parquet"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.parquet")
        try:
            store.fetch(uri, path, store.head(uri).bytes)
        except BadInput:
            return None
        try:
            index = pq.read_table(path, columns=_COLUMNS)
        except (pa.ArrowInvalid, KeyError) as error:
            raise ConfigError(f"{uri} is no index of tars: {str(error).splitlines()[0]}") from error
    if wrong := [id for id in index["sample"].to_pylist() if not ID_PATTERN.match(id or "")]:
        raise ConfigError(f"{uri}: {wrong[0]!r} is no name of a sample")
    return index
