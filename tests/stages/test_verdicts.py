from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpc_curate import cli
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.learning.verdicts import Verdict, VerdictFile, of_run
from hpc_curate.records import video_of
from hpc_curate.run_folder import accounting, books
from hpc_curate.stage import Resources
from hpc_curate.stages.verdicts import Verdicts

LINE = "stage=[scan,shots,gate,embed,verdicts,dedup,select,cut,shard,pack,index]"


def test_a_clip_has_what_people_said_of_it_and_nothing_where_nobody_looked(tmp_path):
    VerdictFile(tmp_path / "ann.parquet", "ann").add(
        [Verdict("b", "accept", ("dark", "city")), Verdict("c", None, ("sea",))]
    )
    VerdictFile(tmp_path / "bob.parquet", "bob").add([Verdict("b", "reject", ("blurry",)), Verdict("z", "reject")])
    stage = Verdicts(files=(str(tmp_path),))
    rows = stage.derive(stage.load(Resources()), pa.table({"clip_id": ["a", "b", "c"], "start_pts": [0, 1, 2]}))
    assert rows.to_pylist() == [
        {"verdict": None, "verdict_tags": None},
        {"verdict": "reject", "verdict_tags": "blurry,city,dark"},
        {"verdict": None, "verdict_tags": "sea"},
    ]


def test_what_is_said_of_a_video_is_said_of_all_its_clips_and_reject_wins(tmp_path):
    VerdictFile(tmp_path / "ann.parquet", "ann").add(
        [Verdict("v", "reject", ("dark",)), Verdict("v_0_9", "accept", ("city",)), Verdict("w", "accept")]
    )
    VerdictFile(tmp_path / "bob.parquet", "bob").add([Verdict("w_9_18", "reject")])
    stage = Verdicts(files=(str(tmp_path),))
    ids = ["v_0_9", "v_9_18", "w_0_9", "w_9_18", "vv_0_9"]
    rows = stage.derive(stage.load(Resources()), pa.table({"clip_id": ids, "start_pts": [0, 9, 0, 9, 0]}))
    assert rows["verdict"].to_pylist() == ["reject", "reject", "accept", "reject", None]
    assert rows["verdict_tags"].to_pylist() == ["city,dark", "dark", None, None, None]


def test_what_the_files_hold_is_part_of_its_signature_and_where_they_lie_is_not(tmp_path):
    file = VerdictFile(tmp_path / "ann.parquet", "ann")
    file.add([Verdict("a", "accept")])
    before = Verdicts(files=(str(file.path),)).signature([])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "bob.parquet").write_bytes(file.path.read_bytes())
    assert Verdicts(files=(str(tmp_path / "copy"),)).signature([]) == before
    file.add([Verdict("a", "reject")])
    assert Verdicts(files=(str(file.path),)).signature([]) != before


def test_without_a_file_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="stage.verdicts has no file"):
        Verdicts()
    with pytest.raises(ConfigError, match="no such file"):
        Verdicts(files=(str(tmp_path / "ann.parquet"),)).signature([])


def test_what_people_reject_is_dropped_and_nothing_else_is_encoded_again(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for number, pattern in enumerate(("testsrc", "testsrc2", "mandelbrot")):
        make_video(f"videos/{number}.mp4", f"{pattern}=s=640x360:r=24,trim=duration=3")
    run_dir = tmp_path / "run"
    words = [f"input={tmp_path / 'videos'}", f"run_dir={run_dir}", "launch=inline", "select=none", "gate=none", LINE]
    rule = "+stage.select.rules.verdict={forbidden:[reject],missing:keep}"
    words += [f"stage.verdicts.files=[{run_dir / 'verdicts'}]", rule]

    without = [word.replace("verdicts,", "") for word in words if not word.startswith(("stage.verdicts", "+"))]
    assert cli.main(["run", *without]) == 0
    made = {path: path.stat().st_mtime_ns for path in run_dir.glob("cut/*/*.parquet")}
    first = clips(run_dir)
    assert len(made) > 0 and set(first.values()) == {"kept"} and len(first) == 3

    worst, best, other = sorted(first)
    said = [Verdict(worst, "reject"), Verdict(best, "accept"), Verdict(video_of(other), "reject")]
    strangers = [Verdict("0" * 20, "reject"), Verdict(f"{video_of(best)}_7_9", "reject")]
    of_run(plans.load_latest(run_dir)).add([*said, *strangers])
    assert cli.main(["run", "--dry-run", *words]) == 0
    capsys.readouterr()
    assert cli.main(["run", *words]) == 0
    told = capsys.readouterr().out
    assert f"1 of 5 verdicts name no clip or video of this run, such as {strangers[0].clip_id}" in told
    assert f"unit 0: 1 of 3 verdicts name no clip of this run, such as {strangers[1].clip_id}" in told
    assert clips(run_dir) == {**first, worst: "rejected", other: "rejected"}
    of_run(plans.load_latest(run_dir)).add([Verdict(best, "reject")])
    assert clips(run_dir) == {**first, worst: "rejected", other: "rejected"}  # what is said now is for the next plan
    assert {path: path.stat().st_mtime_ns for path in run_dir.glob("cut/*/*.parquet")} == made
    index = pq.read_table(max(run_dir.glob("pack/*/tars/index.parquet"), key=lambda path: path.stat().st_mtime_ns))
    assert sorted(index["sample"].to_pylist()) == [best]


def clips(run_dir: Path) -> dict[str, str]:
    rows = accounting.clip_rows(books.read(plans.load_latest(run_dir))).to_pylist()
    return {row["clip_id"]: row["state"] for row in rows}
