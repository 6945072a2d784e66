"""Labels that people gave: a table with a column clip_id and one with the label, or verdicts of `hpc-curate browse`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from hpc_curate.errors import ConfigError
from hpc_curate.learning import verdicts
from hpc_curate.nearest import nearest
from hpc_curate.plural import counted
from hpc_curate.records import video_of

_NUMBERS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, verdicts.ACCEPT: 1.0, verdicts.REJECT: 0.0}
_TAG = "tag_"


@dataclass(frozen=True)
class Labels:
    """One label for each clip, in the order of clip_id, so that the order of the table changes nothing."""

    ids: list[str]
    texts: list[str]

    def videos(self) -> np.ndarray:
        """The source video of each clip, str [N]."""
        return np.array([video_of(clip) for clip in self.ids])

    def numbers(self) -> np.ndarray:
        """float64 [N].

        Raises:
            ConfigError: a label is no number.
        """
        values = []
        for clip, text in zip(self.ids, self.texts, strict=True):
            try:
                values.append(_NUMBERS[text.lower()] if text.lower() in _NUMBERS else float(text))
            except ValueError as error:
                raise ConfigError(f"the label of {clip} is {text!r}; give numbers, or true and false") from error
        if not np.isfinite(values).all():
            raise ConfigError("a label is not finite; leave such rows out")
        return np.array(values)

    def among(self, rows: np.ndarray) -> Labels:
        """Those of some rows, int64."""
        return Labels([self.ids[row] for row in rows], [self.texts[row] for row in rows])


def read(path: Path, column: str) -> Labels:
    """The labels of a .csv, .parquet or .jsonl; rows without a label are left out.

    Of verdicts (a file, or a folder with those of several people) the columns are `verdict`, accept or reject, and for
    each tag that somebody gave `tag_NAME`: true for clips that have it, false for others with a verdict or a tag.

    Raises:
        ConfigError: no such file or column, no label at all, or two that contradict each other.
    """
    table = _of_verdicts(path) if verdicts.is_verdicts(path) else _table(path)
    for name in ("clip_id", column):
        if name not in table.column_names:
            raise ConfigError(
                f"{path} has no column '{name}'; {nearest(name, table.column_names)}. Labels have a column clip_id, as "
                "hpc-curate table writes it, and one of the labels, which --label names"
            )
    table = table.select(["clip_id", column]).cast(pa.schema([("clip_id", pa.string()), (column, pa.string())]))
    given = {(clip, text.strip()) for clip, text in zip(*table.to_pydict().values(), strict=True) if clip and text}
    rows = sorted((clip, text) for clip, text in given if text)
    ids = [clip for clip, _ in rows]
    if not rows:
        raise ConfigError(f"{path} has no row with a clip_id and a {column}")
    twice = pc.value_counts(pa.array(ids)).to_pylist()
    if contradicted := [count["values"] for count in twice if count["counts"] > 1]:
        raise ConfigError(f"{path} has {counted(len(contradicted), 'clip')} with two labels, such as {contradicted[0]}")
    return Labels(ids, [text for _, text in rows])


def _of_verdicts(path: Path) -> pa.Table:
    said = verdicts.combined([path])
    each = [set(tags) for tags in said["tags"].to_pylist()]
    tagged = {f"{_TAG}{tag}": [tag in own for own in each] for tag in sorted(set().union(*each))}
    return pa.table({"clip_id": said["clip_id"], "verdict": said["verdict"], **tagged})


def _table(path: Path) -> pa.Table:
    readers = {".csv": pyarrow.csv.read_csv, ".parquet": pq.read_table, ".jsonl": pyarrow.json.read_json}
    if path.suffix not in readers:
        raise ConfigError(f"labels {path}: the name must end in one of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"labels {path} cannot be read: {str(error).splitlines()[0]}") from error
