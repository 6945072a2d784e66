"""fetch: what comes, what does not, and what is not asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hpc_curate.errors import BadInput, Unavailable
from hpc_curate.records import Video
from hpc_curate.stages.fetch import Fetch


@dataclass
class Net:
    """Inputs whose sources are files of a folder."""

    folder: Path
    wanted: list[Video]
    asked: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)  # what may be fetched meanwhile
    before: list[dict[str, Any]] = field(default_factory=list)  # rows of an earlier publication
    kept: dict[str, int] = field(default_factory=dict)  # bytes of what it has kept, by name
    told: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the source, by name

    def videos(self) -> list[Video]:
        return self.wanted

    def source(self, video: Video, wanted: Callable[[Video], bool]) -> Path:
        self.asked.append(video.uri)
        after = [other.video_id for other in self.wanted].index(video.video_id) + 1
        self.ahead += [other.uri for other in filter(wanted, self.wanted[after:])][:1]
        path = self.folder / video.name.rpartition("/")[2]
        if not path.exists():
            raise (Unavailable("no answer") if path.name == "mute.mp4" else BadInput("the server said 404 Not Found"))
        return path

    def said(self, video: Video) -> dict[str, Any]:
        return {"fetched_with": "tool 1", **self.told.get(video.name, {})}

    def tells_licence(self, video: Video) -> bool:
        return video.name in self.told

    def earlier(self, name: str) -> pa.Table:
        assert name == "videos"
        return pa.Table.from_pylist(self.before, schema=Fetch().writes()[name])

    def kept_file(self, name: str, size: int) -> Path | None:
        return Path(name) if self.kept.get(name) == size else None

    def under_other_settings(self, name: str) -> pa.Table:
        return pa.Table.from_pylist([], schema=Fetch().writes()[name])

    def keep(self, path: Path, sha256: str) -> str:
        return f"kept/{sha256}{path.suffix}"


def rows(net: Net, **settings: Any) -> list[dict[str, Any]]:
    stage = Fetch(**settings)
    return [stage.process({}, net, item)["videos"].to_pylist()[0] for item in stage.items(net, [])]


def video(name: str, **extra: Any) -> Video:
    return Video(f"{name} {extra}", f"https://videos.example/{name}", name, -1, "", extra)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"film")
    return tmp_path


def test_what_comes_is_named_by_its_content(folder: Path) -> None:
    (row,) = rows(Net(folder, [video("deep/a.mp4", licence="CC0", channel="x")]))
    sha256 = hashlib.sha256(b"film").hexdigest()
    assert (row["path"], row["bytes"], row["sha256"]) == (f"kept/{sha256}.mp4", 4, sha256)
    assert (row["name"], row["licence"], row["extra"]) == ("a.mp4", "CC0", '{"licence": "CC0", "channel": "x"}')
    assert row["fetched_with"] == "tool 1" and row["fetched_at"].endswith("+00:00")
    assert row["error"] is None and row["reason"] is None


def test_what_does_not_come_or_is_something_else_is_a_row_with_an_error(folder: Path) -> None:
    found = rows(Net(folder, [video("b.mp4"), video("a.mp4", sha256="ab" * 32)]))
    assert found[0]["error"] == "the server said 404 Not Found"
    assert f"the input says {'ab' * 32}" in found[1]["error"]
    assert [row["path"] for row in found] == [None, None]


def test_what_may_not_be_used_is_not_asked_for(folder: Path) -> None:
    licences = ({"license": "CC-BY-4.0"}, {"licence": "ARR"}, {}, {"licence": "cc-by-4.0"}, {"licence": ""})
    net = Net(folder, [video("a.mp4", number=number, **licence) for number, licence in enumerate(licences)])
    found = rows(net, licences=("CC-BY-4.0",))
    refused = ["licence ARR is not allowed", "no licence is named"]
    assert [row["reason"] for row in found] == [None, *refused, None, "no licence is named"]
    assert net.asked == [net.wanted[0].uri, net.wanted[3].uri]
    assert net.ahead == [net.wanted[3].uri]


def test_a_licence_that_comes_with_the_video_is_looked_at_then(folder: Path) -> None:
    told = {"a.mp4": {"licence": "CC0", "uploader": "someone"}}
    net = Net(folder, [video("a.mp4")], told=told)
    assert [row["reason"] for row in rows(net, licences=("CC-BY-4.0",))] == ["licence CC0 is not allowed"]
    (row,) = rows(net, licences=("CC0",))
    assert (row["licence"], row["extra"]) == ("CC0", '{"uploader": "someone"}')


def test_done_again_a_unit_asks_for_what_may_come_and_for_what_is_lost(folder: Path) -> None:
    (folder / "lost.mp4").write_bytes(b"lost")
    wanted = [video("mute.mp4"), video("b.mp4"), video("a.mp4"), video("lost.mp4")]
    before = rows(Net(folder, wanted))
    assert [row["again"] for row in before] == [True, None, None, None]
    (folder / "mute.mp4").write_bytes(b"it speaks")
    again = Net(folder, wanted, before=before, kept={before[2]["path"]: 4, before[3]["path"]: 3})
    after = rows(again)
    assert again.asked == [wanted[0].uri, wanted[3].uri]
    assert again.ahead == [wanted[3].uri]  # and not what is here already
    assert after[0]["error"] is None and after[0]["again"] is None and after[1:3] == before[1:3]
