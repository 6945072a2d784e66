import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.learning import verdicts
from hpc_curate.learning.verdicts import VERDICTS, Verdict, VerdictFile

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def said(file, *words):
    """Writes clip=verdict, an hour after the one before."""
    for hour, word in enumerate(words):
        clip, _, verdict = word.partition("=")
        file.add([Verdict(clip, verdict or None, at=NOON + timedelta(hours=hour))])
    return file.path


def together(*paths):
    rows = verdicts.combined(paths).to_pylist()
    return {row["clip_id"]: row["verdict"] for row in rows}


def test_the_last_word_of_a_person_on_a_clip_is_what_is_kept(tmp_path):
    file = VerdictFile(tmp_path / "new" / "ann.parquet", "ann")
    assert file.read().num_rows == 0
    file.add([Verdict("a", "reject", ("blurry", " dark ", ""), "out of focus"), Verdict("b", "accept")])
    rows = file.add([Verdict("a", "accept")])
    assert rows.schema == VERDICTS and rows.equals(file.read())
    assert [(row["clip_id"], row["verdict"], row["by"]) for row in rows.to_pylist()] == [
        ("a", "accept", "ann"),
        ("b", "accept", "ann"),
    ]
    file.add([Verdict("b", "reject", ("blurry", " dark ", ""))])
    assert file.read()["tags"].to_pylist() == [[], ["blurry", "dark"]]


def test_what_an_audit_found_is_not_changed_by_a_later_look(tmp_path):
    file = VerdictFile(tmp_path / "ann.parquet", "ann")
    file.add([Verdict("a", "reject", audit=True), Verdict("b", "accept", audit=True), Verdict("c", "reject")])
    rows = file.add([Verdict("a", "accept")])
    found = verdicts.defect_rate(rows)
    assert (found.judged, found.rejected, found.rate) == (2, 1, 0.5)
    assert together(file.path) == {"a": "accept", "b": "accept", "c": "reject"}


def test_two_writers_at_once_lose_nothing_of_each_other(tmp_path):
    code = (
        "import sys; from pathlib import Path; from hpc_curate.learning.verdicts import Verdict, VerdictFile\n"
        "file = VerdictFile(Path(sys.argv[1]), 'ann')\n"
        "for number in range(30): file.add([Verdict(f'{sys.argv[2]}{number}', 'accept')])"
    )
    path = tmp_path / "ann.parquet"
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name]) for name in ("x", "y")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert pq.read_table(path).num_rows == 60
    assert sorted(found.name for found in tmp_path.iterdir()) == [".ann.parquet.lock", "ann.parquet"]


def test_of_people_who_contradict_each_other_the_one_who_rejects_wins(tmp_path):
    ann, bob = (VerdictFile(tmp_path / f"{name}.parquet", name) for name in ("ann", "bob"))
    said(ann, "a=reject", "b=accept", "c=reject", "c=", "d=accept")
    said(bob, "a=accept", "b=accept", "c=accept")
    bob.add([Verdict("e", None, ("dark",)), Verdict("f", None, note="who is this?")])
    ann.add([Verdict("e", None, ("blurry",))])
    assert together(tmp_path) == {"a": "reject", "b": "accept", "c": "accept", "d": "accept", "e": None}
    assert verdicts.combined([ann.path, bob.path]).to_pylist()[-1]["tags"] == ["blurry", "dark"]


def test_a_run_keeps_them_for_those_who_may_see_it(prepared):
    plan = prepared(units=1)
    file = verdicts.of_run(plan, "../ann lee")
    file.add([Verdict("a", "accept")])
    assert file.path.parent == plan.paths.root / "verdicts" and file.path.name == ".._ann_lee.parquet"
    for path in (file.path, *file.path.parents[:2]):
        assert path.stat().st_mode & 0o077 == 0
    assert file.read()["by"].to_pylist() == ["../ann lee"]


@pytest.mark.parametrize(
    ("judged", "rejected", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    [(263, 81, 0.2553, 0.3662), (148, 15, 0.0624, 0.1605), (20, 0, 0.0, 0.1611), (29, 1, 0.0061, 0.1718)],
)
def test_the_interval_of_the_defect_rate_is_wilsons(judged, rejected, low, high):
    rows = [
        {"clip_id": str(n), "verdict": "reject" if n < rejected else "accept", "audit": True} for n in range(judged)
    ]
    found = verdicts.defect_rate(pa.Table.from_pylist(rows, schema=VERDICTS))
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found.rate == rejected / judged


def test_without_an_audit_there_is_no_rate():
    rows = [{"clip_id": "a", "verdict": "reject", "audit": False}, {"clip_id": "b", "verdict": None, "audit": True}]
    assert verdicts.defect_rate(pa.Table.from_pylist(rows, schema=VERDICTS)) is None


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no .parquet file"):
        verdicts.combined([tmp_path])
    with pytest.raises(ConfigError, match="no such file"):
        verdicts.combined([tmp_path / "ann.parquet"])
    pq.write_table(pa.table({"clip_id": ["a"]}), tmp_path / "ann.parquet")
    with pytest.raises(ConfigError, match="holds no verdicts"):
        verdicts.combined([tmp_path])
    rows = [{"clip_id": "a", "verdict": "maybe"}]
    pq.write_table(pa.Table.from_pylist(rows, schema=VERDICTS), tmp_path / "ann.parquet")
    with pytest.raises(ConfigError, match="accept, reject or null, not 'maybe'"):
        VerdictFile(tmp_path / "ann.parquet", "ann").add([Verdict("b", "accept")])
