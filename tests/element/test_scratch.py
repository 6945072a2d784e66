import json
import subprocess
import sys
from pathlib import Path

from waiting import eventually

from hpc_curate.element.scratch import scratch
from hpc_curate.run_folder.claims import Holder

WORKER = """
import sys, time
from hpc_curate.element.scratch import scratch
from hpc_curate.run_folder.claims import Holder
with scratch(Holder("job"), sys.argv[1]) as folder:
    (folder / "large.mp4").write_text("frames")
    time.sleep(600)
"""


def held(parent: Path) -> list[Path]:
    return list(parent.glob("*/large.mp4"))


def test_a_folder_is_there_for_as_long_as_it_is_used(tmp_path):
    with scratch(Holder("job"), str(tmp_path)) as folder:
        assert folder.parent == tmp_path and folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_worker_left_is_removed_by_the_next_and_nothing_else_is(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)]) for _ in range(2)]
    try:
        eventually(lambda: len(held(tmp_path)) == 2)
        workers[0].kill()
        workers[0].wait()
        assert len(held(tmp_path)) == 2
        with scratch(Holder("job"), str(tmp_path)):
            owner = held(tmp_path)[0].with_name("owner.json")
            assert json.loads(owner.read_text())["pid"] == workers[1].pid
            assert len(held(tmp_path)) == 1
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_what_tells_nobody_as_its_owner_is_left_alone(tmp_path):
    for name, text in {"empty": None, "torn": "{", "foreign": "[]"}.items():
        folder = tmp_path / f"hpc_curate-scratch-{name}"
        folder.mkdir()
        if text:
            (folder / "owner.json").write_text(text)
    with scratch(Holder("job"), str(tmp_path)):
        pass
    assert len(list(tmp_path.iterdir())) == 3
