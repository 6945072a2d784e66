"""What a stage may read, by name and never by path. Runs answer with `run_folder.reader`; tests bring their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from hpc_curate.errors import BadInput
from hpc_curate.records import Video
from hpc_curate.stage import Clip, Resources

if TYPE_CHECKING:
    from hpc_curate.chat.answers import Answers
    from hpc_curate.io.delivery import Delivery
    from hpc_curate.run_folder.accounting import Books


class Inputs(Protocol):
    """What `process` and `run` are given."""

    unit: int
    resources: Resources

    def videos(self) -> list[Video]:
        """The videos of this unit as they were frozen; for a merge, of all units."""
        ...

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A named table (`videos`, `series`, `edges` ...) of this unit; for a merge, of all units."""
        ...

    def has(self, name: str) -> bool:
        """Whether a stage of the recipe writes this column or table."""
        ...

    def kept(self) -> Sequence[str]:
        """The clip ids this stage is asked for, in order: what the filter before it keeps."""
        ...

    def clips(self, columns: Sequence[str], ids: Sequence[str] | None = None) -> pa.Table:
        """`clip_id` and columns of any stages before, joined by clip_id, in the order of `ids` (default: `kept`).

        Null where a stage has no value for a clip. The name `*` stands for every column written before.
        """
        ...

    def all_clips(self, columns: Sequence[str]) -> pa.Table:
        """The same for every clip that shots made, with two columns more: `unit`, and `error`, the first error of a
        stage that wrote one of the columns (null: none)."""
        ...

    def frames(
        self, ids: Sequence[str], count: int, columns: Sequence[str] = ()
    ) -> Iterator[tuple[str, Clip | BadInput]]:
        """For each clip `count` frames of the frame pack, evenly spread, decoded to RGB; fewer if it has fewer."""
        ...

    def blobs(self, name: str, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The blob of each id from a table such as `store`, in the order of `ids`, wherever its unit keeps it."""
        ...

    def source(self, video: Video, wanted: Callable[[Video], bool] = lambda _: True) -> Path:
        """The video as a local file, fetched if need be.

        Args:
            wanted: which videos of the unit the stage will ask for; the next of them may be fetched meanwhile.

        Raises:
            BadInput: it is gone, no regular file, or changed since it was frozen.
        """
        ...

    def said(self, video: Video) -> dict[str, Any]:
        """What the source of a video that `source` has fetched said of it, with `fetched_with`, the tool."""
        ...

    def tells_licence(self, video: Video) -> bool:
        """Whether a licence that nobody named may come with a video."""
        ...

    def keep(self, path: Path, sha256: str) -> str:
        """Publish a copy of a file under the name of its content; where it is now, below the run folder."""
        ...

    def kept_file(self, name: str, size: int) -> Path | None:
        """A file that `keep` has published; None: it is gone, or has another size."""
        ...

    def earlier(self, name: str) -> pa.Table:
        """What a unit that is done again held before, for a stage whose rows stay (`Ledger.reopen`); else nothing."""
        ...

    def under_other_settings(self, name: str) -> pa.Table:
        """What the stage has written of this unit in this run folder when it was asked for something else."""
        ...

    def scratch(self) -> Path:
        """A private folder for temporary files, on the node; removed afterwards."""
        ...

    def answers(self) -> Answers:
        """What a model was asked about this unit and has answered, by this attempt or an earlier one."""
        ...

    def delivery(self) -> Delivery:
        """Where pack and index publish the data set."""
        ...

    def question(self) -> dict[str, Any]:
        """What was asked: the plan's settings that change results, without paths of this machine."""
        ...

    def books(self) -> Books:
        """The tables of the run that are accounted for."""
        ...

    def costs(self) -> pa.Table:
        """What each stage took: stage, units, rows, errors, hours (of tasks, not of a person waiting), cpu_hours, as
        measured, gpu_hours, as given, bytes, files."""
        ...

    def report_folder(self) -> Path:
        """Where report publishes its page."""
        ...
