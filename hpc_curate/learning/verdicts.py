"""What people say of clips: accept, reject, tags and notes, in one Parquet file for each person."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import math
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpc_curate import units
from hpc_curate.errors import ConfigError
from hpc_curate.io import tables
from hpc_curate.io.paths import RunPaths
from hpc_curate.plural import counted
from hpc_curate.records import digest, video_of
from hpc_curate.run_folder import privacy

if TYPE_CHECKING:
    from hpc_curate.plan import Plan

log = logging.getLogger(__name__)

Word = Literal["accept", "reject"]
ACCEPT: Word = "accept"
REJECT: Word = "reject"

VERDICTS = pa.schema(
    [
        ("clip_id", pa.string()),  # or a video_id: it is said of the whole video
        ("verdict", pa.string()),  # accept or reject; null: only a tag or a note, or taken back
        ("tags", pa.list_(pa.string())),
        ("note", pa.string()),
        ("by", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("audit", pa.bool_()),  # given blind, to a clip that chance chose
    ]
)
COMBINED = pa.schema([VERDICTS.field(name) for name in ("clip_id", "verdict", "tags")])

_NO_TIME = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_Z = 1.959964  # of 95 %, two-sided, in the normal distribution

_writing = threading.Lock()


@dataclass(frozen=True)
class Verdict:
    """What one person says of one clip, or of a whole video. It replaces what the same person said of it before (audits
    and other verdicts each for themselves, so that a later look does not change what an audit measured)."""

    clip_id: str
    verdict: Word | None
    tags: tuple[str, ...] = ()
    note: str = ""
    audit: bool = False
    at: datetime | None = None  # with a time zone; None: when it is written


@dataclass(frozen=True)
class VerdictFile:
    """One person's file. Several tabs and processes may write to it at the same time: none loses the other's rows."""

    path: Path
    by: str

    def read(self) -> pa.Table:
        """Rows of `VERDICTS`; none where nothing was said yet.

        Raises:
            ConfigError: the file is something else.
        """
        return _read(self.path) if self.path.exists() else VERDICTS.empty_table()

    def add(self, verdicts: Sequence[Verdict]) -> pa.Table:
        """Write them down; returns all rows as they are now.

        Raises:
            ConfigError: the file is something else.
            EnvironmentFault: the disk is full, or the file system is at fault.
        """
        now = datetime.now(timezone.utc)
        rows = {
            (one.clip_id, one.audit): {**asdict(one), "tags": _tidy(one.tags), "by": self.by, "at": one.at or now}
            for one in verdicts
        }
        new = pa.Table.from_pylist(list(rows.values()), schema=VERDICTS)
        with _alone(self.path):
            known = self.read()
            stays = known.filter(pc.invert(pc.is_in(_keys(known), _keys(new))))
            table = pa.concat_tables([stays, new]).sort_by([("clip_id", "ascending"), ("audit", "ascending")])
            tables.write_table(self.path.absolute(), table, VERDICTS, None)
        return table


def _tidy(tags: Sequence[str]) -> list[str]:
    return sorted({tag.strip() for tag in tags} - {""})


def _keys(rows: pa.Table) -> pa.Array:
    """What there is one row of: a clip in an audit, or outside of one."""
    return pc.if_else(rows["audit"], pc.binary_join_element_wise(rows["clip_id"], "audit", " "), rows["clip_id"])


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else writes to the file: no thread, and no process where the file system has locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _writing, path.with_name(f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning("%s: the file system has no locks; write verdicts from one process at a time", path.parent)
        yield


def of_run(plan: Plan, user: str | None = None) -> VerdictFile:
    """`RUN/verdicts/USER.parquet`; the user is who runs this process, which writes for those who may see the run."""
    privacy.apply(plan.settings)
    who = user or privacy.me()
    path = plan.paths.verdicts(who)
    privacy.make_folder(path.parent, plan.settings)
    return VerdictFile(path, who)


def files(paths: Sequence[Path]) -> list[Path]:
    """Files, and those in folders, in a fixed order.

    Raises:
        ConfigError: there is none.
    """
    found = [file for path in paths for file in (path.glob("*.parquet") if path.is_dir() else [path])]
    if missing := [path for path in found if not path.is_file()]:
        raise ConfigError(f"verdicts {missing[0]}: no such file")
    if not found:
        raise ConfigError(f"verdicts {', '.join(map(str, paths)) or 'of nobody'}: there is no .parquet file")
    return sorted(set(found))


def frozen(stages: Mapping[str, Any], paths: RunPaths, write: bool = False) -> dict[str, Any]:
    """Settings of stages for a plan: those of stage verdicts name a file in the run folder with what people say now.

    They go on looking while the run is at work; what they say then is for the next plan.

    Args:
        write: make that file; otherwise the settings stay as they are where it is missing.

    Raises:
        ConfigError: there are no verdicts where the settings say, or no such file.
    """
    own = stages.get("verdicts") or {}
    if "name" not in own or not own.get("files"):  # the recipe is without it, or it will be refused
        return dict(stages)
    said = combined([Path(path) for path in own["files"]]).to_pylist()
    path = paths.verdicts_of_plan(digest(said))
    if not path.exists():
        if not write:
            return dict(stages)
        rows = [{"note": "", "by": "", "at": _NO_TIME, "audit": False, **row} for row in said]
        tables.write_table(path, pa.Table.from_pylist(rows, schema=VERDICTS), VERDICTS, None)
    return {**stages, "verdicts": {**own, "files": [str(path)]}}


def is_verdicts(path: Path) -> bool:
    """Whether this is a file that was written here, or a folder of such."""
    return path.is_dir() or (path.suffix == ".parquet" and path.is_file() and _has_columns(pq.read_schema(path)))


def combined(paths: Sequence[Path]) -> pa.Table:
    """What all say together, as rows of `COMBINED`: one for each clip or video with a verdict or a tag, by its id.

    Of one person the last verdict counts, given in an audit or not. Where people contradict each other, reject wins: a
    fault that one of them has seen does not go away because another has not. Tags are all of theirs.

    Args:
        paths: files, and folders of files.

    Raises:
        ConfigError: there is none, or one is something else.
    """
    rows = [row for path in files(paths) for row in _read(path).to_pylist()]
    latest: dict[tuple[str, str, bool], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["at"]):
        latest[row["clip_id"], row["by"], row["audit"]] = row
    words: dict[str, dict[str, str]] = {}  # by clip and person
    tags: dict[str, set[str]] = {}
    for row in sorted(latest.values(), key=lambda row: row["at"]):
        tags.setdefault(row["clip_id"], set()).update(row["tags"] or ())
        if row["verdict"]:
            words.setdefault(row["clip_id"], {})[row["by"]] = row["verdict"]
    told = [
        {"clip_id": clip, "verdict": _together(words.get(clip, {}).values()), "tags": sorted(tags[clip])}
        for clip in sorted(tags)
        if tags[clip] or clip in words
    ]
    return pa.Table.from_pylist(told, schema=COMBINED)


def _together(words: Collection[str]) -> str | None:
    """One verdict of several."""
    return REJECT if REJECT in words else ACCEPT if words else None


def of_clips(said: pa.Table, clips: Sequence[str]) -> list[dict[str, Any]]:
    """Of each clip what was said of it or of its whole video, as a row of `COMBINED`: of both, reject wins again."""
    about = {row["clip_id"]: row for row in said.to_pylist()}
    rows = []
    for clip in clips:
        both = [about[one] for one in (clip, video_of(clip)) if one in about]
        words = {row["verdict"] for row in both if row["verdict"]}
        tags = sorted({tag for row in both for tag in row["tags"]})
        rows.append({"clip_id": clip, "verdict": _together(words), "tags": tags})
    return rows


def warn_of_strangers(stages: Mapping[str, Any], paths: RunPaths) -> None:
    """Say how many verdicts that stage verdicts will read belong to no video of the run."""
    own = stages.get("verdicts") or {}
    if "name" not in own:
        return
    ids = combined([Path(path) for path in own["files"]])["clip_id"].to_pylist()
    known = units.unit_of(paths, {video_of(one) for one in ids})
    if strange := [one for one in ids if video_of(one) not in known]:
        what = "%d of %s name no clip or video of this run, such as %s"
        log.warning(what, len(strange), counted(len(ids), "verdict"), strange[0])


@dataclass(frozen=True)
class DefectRate:
    """Share of rejects among the clips that were audited."""

    judged: int
    rejected: int
    rate: float
    low: float  # 95 % confidence interval
    high: float


def defect_rate(verdicts: pa.Table) -> DefectRate | None:
    """From the audits among rows of `VERDICTS`; None: nothing was audited.

    The interval is Wilson's, from the score test (E. B. Wilson, Journal of the American Statistical Association 22,
    1927, 209-212), which stays between 0 and 1 and holds for few clips and for rates near 0, where the usual one fails
    (L. D. Brown, T. T. Cai, A. DasGupta, Statistical Science 16, 2001, 101-133).
    """
    words = verdicts.filter(verdicts["audit"])["verdict"].drop_null()
    judged, rejected = len(words), pc.sum(pc.equal(words, REJECT)).as_py() or 0
    if not judged:
        return None
    rate, spread = rejected / judged, _Z**2 / judged
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(rate * (1 - rate) / judged + spread / (4 * judged))
    return DefectRate(judged, rejected, rate, max(0.0, middle - half), min(1.0, middle + half))


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"verdicts {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not _has_columns(table.schema):
        raise ConfigError(f"{path} holds no verdicts; they have the columns {', '.join(VERDICTS.names)}")
    table = table.select(VERDICTS.names).cast(VERDICTS)
    strange = set(pc.unique(table["verdict"]).to_pylist()) - {ACCEPT, REJECT, None}
    if strange:
        raise ConfigError(f"{path}: a verdict is {ACCEPT}, {REJECT} or null, not {sorted(strange)[0]!r}")
    return table


def _has_columns(schema: pa.Schema) -> bool:
    return set(VERDICTS.names) <= set(schema.names)
