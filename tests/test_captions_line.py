"""The line with captions on real footage, from a server in a process of its own that says what it sees."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from waiting import eventually

from hpc_curate import plan as plans
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.reader import Reader
from hpc_curate.run_folder.state import State
from hpc_curate.stages.caption import Caption

pytestmark = pytest.mark.timeout(600)

SERVER = Path(__file__).resolve().parent / "support" / "chat_server.py"
# Every clip of two small files; nothing of it is about selection.
LINE = ["recipe=captions", "gate=none", "select=none", "stage.select.duplicates=false", "launch=inline"]
LINE += ["stage.shots.max_duration_s=6"]


def command(run: Path, footage: Path, *more: str, script: dict[str, object] | None = None) -> list[str]:
    """The words that curate two videos, with a server that the task starts."""
    table = run.parent / "videos.csv"
    table.write_text(f"uri\n{footage / 'demo.webm'}\n{footage / 'demo.mp4'}\n")
    words = [sys.executable, str(SERVER), "{port}", str(run.parent), json.dumps(script or {})]
    serve = (
        "resources.caption.endpoint.serve=[" + ",".join("'" + word.replace("'", r"\'") + "'" for word in words) + "]"
    )
    few = "resources.caption.endpoint.requests_at_once=4"
    given = [f"input={table}", f"run_dir={run}", "unit.videos=1", *LINE, serve, few, *more]
    return [sys.executable, "-m", "hpc_curate", "run", *given]


def curate(run: Path, footage: Path, *more: str) -> None:
    done = subprocess.run(command(run, footage, *more), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def asked(run: Path) -> list[str]:
    """The ids of all requests, in their order."""
    path = run.parent / "requests.jsonl"
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def expected(plan: plans.Plan) -> dict[tuple[str, str], str]:
    """What the server says of each question about each clip, told from the frame pack."""
    stage = plan.steps["caption"].stage
    assert isinstance(stage, Caption)
    found = {}
    for unit in range(plan.units):
        reader = Reader(State(plan, Ledger(plan.paths)), "caption", unit)
        columns = [name.removesuffix("?") for name in stage.reads() if name != "frames"]
        for clip_id, clip in reader.frames(reader.kept(), stage.frames_per_clip, columns):
            assert not isinstance(clip, BadInput)
            for question in stage.questions(clip):
                content = b"".join(question.jpegs) + question.text.encode()
                found[clip_id, question.part.split()[0]] = f"clip {hashlib.sha256(content).hexdigest()}"
    return found


def samples(run: Path) -> dict[str, dict[str, bytes]]:
    """The files of each sample of the last pack, by extension."""
    plan = plans.load_latest(run)
    folder = Path(State(plan, Ledger(plan.paths)).data_set() or "")
    found: dict[str, dict[str, bytes]] = {}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                found.setdefault(key, {})[extension] = file.read()
    return found


def done(run: Path) -> dict[str, set[str]]:
    """The signatures of every stage that has records."""
    return {
        folder.name: {path.name for path in folder.iterdir() if (path / "done").is_dir()}
        for folder in run.iterdir()
        if folder.is_dir() and any((path / "done").is_dir() for path in folder.iterdir() if path.is_dir())
    }


@pytest.fixture(scope="module")
def run(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in the middle of captioning, and then gone on with."""
    run: Path = tmp_path_factory.mktemp("captions") / "run"
    # Eight answers come, and then none: it cannot end by itself, however late the kill is.
    words = command(run, footage, "prompt=[medium,short]", script={"slow_s": 1.0, "holds_from": 9})
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        eventually(lambda: len(asked(run)) == 12 or killed.poll() is not None, 400)
        killed.send_signal(signal.SIGKILL)
    before = len(asked(run))
    assert before == 12
    curate(run, footage, "prompt=[medium,short]")
    (run.parent / "before").write_text(str(before))
    return run


@pytest.fixture(scope="module")
def first(run: Path) -> dict[str, dict[str, bytes]]:
    """The samples of that run, whatever is made of it later."""
    return samples(run)


def test_each_sample_has_the_captions_of_its_own_frames(run: Path) -> None:
    wanted = expected(plans.load_latest(run))
    found = samples(run)
    assert len(wanted) == 2 * len(found) > 20
    for key, files in found.items():
        described = json.loads(files["json"])
        assert files["txt"].decode() == described["caption"] == wanted[key, "medium"]
        told = {part["variant"]: part["text"] for part in described["captions"]}
        assert told == {variant: wanted[key, variant] for variant in ("medium", "short")}
    assert len({files["txt"] for files in found.values()}) == len(found)


def test_a_killed_task_has_paid_for_nothing_twice(run: Path) -> None:
    requests = asked(run)
    at_once = plans.load_latest(run).steps["caption"].resources.endpoint.requests_at_once  # type: ignore[union-attr]
    questions = len(expected(plans.load_latest(run)))
    assert len(set(requests)) == questions
    assert len(requests) - questions <= at_once  # those on their way when it was killed
    assert int((run.parent / "before").read_text()) > at_once


def test_card_and_table_say_who_captioned(run: Path) -> None:
    (card,) = run.glob("pack/*/tars/README.md")
    assert f"| Qwen/Qwen2.5-VL-7B-Instruct | {len(samples(run))} |" in card.read_text()
    assert "- `medium`: Describe this clip" in card.read_text()
    out = run.parent / "clips.csv"
    subprocess.run([sys.executable, "-m", "hpc_curate", "table", run, "-o", out], check=True, stdout=subprocess.DEVNULL)
    assert "caption_model" in out.read_text().splitlines()[0]


def test_another_prompt_captions_again_and_encodes_nothing(
    run: Path, footage: Path, first: dict[str, dict[str, bytes]]
) -> None:
    before, requests = done(run), len(asked(run))
    encoded = {path: path.stat().st_mtime_ns for path in run.glob("cut/**/*") if path.is_file()}
    curate(run, footage, "prompt=[long,short]")
    again = {stage for stage, signatures in done(run).items() if signatures != before.get(stage)}
    assert again == {"caption", "shard", "pack", "index", "report"}
    assert {path: path.stat().st_mtime_ns for path in run.glob("cut/**/*") if path.is_file()} == encoded
    wanted, found = expected(plans.load_latest(run)), samples(run)
    assert {key: files["mp4"] for key, files in found.items()} == {key: files["mp4"] for key, files in first.items()}
    assert all(files["txt"].decode() == wanted[key, "long"] for key, files in found.items())
    assert len(asked(run)) - requests == len(found)  # short was known


def test_the_same_clips_as_folders_for_cosmos_predict(
    run: Path, footage: Path, first: dict[str, dict[str, bytes]]
) -> None:
    requests = len(asked(run))
    curate(run, footage, "prompt=[medium,short]", "pack=cosmos_predict")
    assert len(asked(run)) == requests
    plan = plans.load_latest(run)
    folder = Path(State(plan, Ledger(plan.paths)).data_set() or "")
    videos = {path.stem: path for path in folder.glob("*/videos/*.mp4")}
    assert {key: path.read_bytes() for key, path in videos.items()} == {
        key: files["mp4"] for key, files in first.items()
    }
    for key, path in videos.items():
        assert (path.parent.parent / "metas" / f"{key}.txt").read_bytes() == first[key]["txt"]
    subprocess.run(["sha256sum", "--check", "--quiet", "sha256sums.txt"], cwd=folder, check=True)
    index = pq.read_table(io.BytesIO((folder / "index.parquet").read_bytes()))
    assert sorted(index["sample"].to_pylist()) == sorted(videos)


def test_no_server_is_left(run: Path) -> None:
    pids = [int(path.stem) for path in run.parent.glob("*.pid")]
    assert len(pids) >= 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_the_recipe_gpu_is_planned(prepared, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weights, head = tmp_path / "clip.pt", tmp_path / "head.pth"
    for file in (weights, head):
        file.write_bytes(b"weights")
    files = [f"stage.embed.weights_path={weights}", f"stage.aesthetic.head_weights_path={head}"]
    plan = prepared("recipe=gpu", "resources=gpu", *files, units=2)
    assert {name for name, step in plan.steps.items() if step.resources.gpus} == {"embed", "vlm", "caption"}
    assert "embed" in plan.steps["aesthetic"].upstream and plan.writers["aesthetic"] == "aesthetic"
    assert {"vlm_slideshow", "vlm_flags", "vlm_content_type", "caption", "captions"} <= set(plan.writers)
    assert plan.steps["caption"].waits_for[-1] == "select" and plan.steps["vlm"].waits_for[-1] == "gate"
    for name in ("embed", "vlm", "dedup", "select", "cut"):
        assert "caption" not in plan.before(name)
    endpoint = plan.steps["vlm"].resources.endpoint
    assert endpoint is not None and endpoint.serve is not None and endpoint.serve[:3] == ("vllm", "serve", "{model}")


def test_captions_change_nothing_before_them(prepared) -> None:  # type: ignore[no-untyped-def]
    url = "++resources.caption.endpoint.url=http://127.0.0.1:9/v1"
    one = prepared("recipe=captions", url)
    other = prepared("recipe=captions", f"{url}/other", "prompt=[long]", "++resources.caption.endpoint.tries=2")
    same = {name for name in one.steps if one.work_signature(name) == other.work_signature(name)}
    assert same == {"scan", "shots", "gate", "embed", "dedup", "select", "cut"}
    elsewhere = prepared("recipe=captions", f"{url}/other")
    assert elsewhere.work_signature("pack") == one.work_signature("pack")
    with pytest.raises(ConfigError, match="stage caption asks a model: say where it is"):
        prepared("recipe=captions")
