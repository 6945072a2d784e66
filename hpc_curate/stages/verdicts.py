"""What people said of clips while they looked at them: verdicts and tags as columns."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hpc_curate.errors import ConfigError
from hpc_curate.inputs import Inputs
from hpc_curate.learning import verdicts
from hpc_curate.plural import counted
from hpc_curate.records import video_of
from hpc_curate.stage import Derived, Item, Resources

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdicts(Derived):
    """Accept and reject, as people wrote them in `hpc-curate browse`. Decides nothing: a rule of select does that,

        verdict: {forbidden: [reject], missing: keep}

    Of one person the last verdict counts; where people contradict each other, reject wins; tags are all of theirs.
    What is said of a whole video is said of each of its clips, and reject wins there too.
    Columns: `verdict` (accept, reject; null: nobody said) and `verdict_tags`, sorted, with commas between them (null:
    none). A plan takes what the files hold when it is made; what people say later is for the next `hpc-curate run`.
    """

    name: ClassVar[str] = "verdicts"
    version: ClassVar[int] = 2
    columns: ClassVar[pa.Schema] = pa.schema([("verdict", pa.string()), ("verdict_tags", pa.string())])

    files: tuple[str, ...] = ()  # and folders of files, such as RUN/verdicts

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError("stage.verdicts has no file; stage.verdicts.files=[RUN/verdicts] takes those of a run")

    def reads(self) -> tuple[str, ...]:
        return ("start_pts",)  # other spans are other clips

    def settings(self) -> dict[str, Any]:
        return {}  # what the files hold counts, and not where they lie

    def weights(self) -> Sequence[Path]:
        return verdicts.files([Path(path) for path in self.files])

    def load(self, resources: Resources) -> pa.Table:
        return verdicts.combined(self.weights())

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterable[Item]:
        """As of any stage; once for each unit it is told how many verdicts are on clips that are cut otherwise now."""
        videos = {video.video_id for video in inputs.videos()}
        ids = self.load(inputs.resources)["clip_id"].to_pylist()
        said = [one for one in ids if video_of(one) in videos and one not in videos]
        made = set(inputs.all_clips(())["clip_id"].to_pylist()) if said else set()
        if lost := [one for one in said if one not in made]:
            what = counted(len(said), "verdict")
            log.warning("unit %d: %d of %s name no clip of this run, such as %s", inputs.unit, len(lost), what, lost[0])
        return super().items(inputs, asked)

    def derive(self, model: pa.Table, clips: pa.Table) -> pa.Table:
        said = verdicts.of_clips(model, clips["clip_id"].to_pylist())
        rows = [{"verdict": row["verdict"], "verdict_tags": ",".join(row["tags"]) or None} for row in said]
        return pa.Table.from_pylist(rows, schema=self.columns)
