"""What people said of clips while they looked at them: verdicts and tags as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips import align
from hpc_curate.errors import ConfigError
from hpc_curate.learning import verdicts
from hpc_curate.stage import Derived, Resources


@dataclass(frozen=True)
class Verdicts(Derived):
    """Accept and reject, as people wrote them in `hpc-curate browse`. Decides nothing: a rule of select does that,

        verdict: {forbidden: [reject], missing: keep}

    Of one person the last verdict counts; where people contradict each other, reject wins; tags are all of theirs.
    Columns: `verdict` (accept, reject; null: nobody said) and `verdict_tags`, sorted, with commas between them (null:
    none). A plan takes what the files hold when it is made; what people say later is for the next `hpc-curate run`.
    """

    name: ClassVar[str] = "verdicts"
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

    def derive(self, model: pa.Table, clips: pa.Table) -> pa.Table:
        said = align.beside(clips["clip_id"].combine_chunks(), model)
        some = pc.greater(pc.list_value_length(said["tags"]), 0)
        tags = pc.if_else(some, pc.binary_join(said["tags"], ","), pa.scalar(None, pa.string()))
        return pa.table({"verdict": said["verdict"], "verdict_tags": tags})
