"""What is looked at on a machine, and how two machines are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import config, overrides, plan
from hpc_curate.planning.checks import OK, RED, WARNING, node


@pytest.fixture
def line(tmp_path: Path) -> Any:
    """A plan over no units, from overrides."""

    def build(*words: str) -> plan.Plan:
        config.register()
        common = [f"input={tmp_path}", f"run_dir={tmp_path / 'run'}"]
        return plan.build(config.resolve(overrides.compose([*common, *words])), 0)

    return build


def test_the_payload_writes_what_it_has_seen(line: Any, tmp_path: Path) -> None:
    made, answer = line(), tmp_path / "answer.json"
    node.report(json.dumps(made.settings), "0", "", str(answer))
    seen, here = json.loads(answer.read_text()), node.look(made)
    assert {**seen, "scratch": {}} == {**here, "scratch": {}} and list(seen["scratch"]) == list(here["scratch"])
    assert {finding.verdict for finding in node.judge(node.look(made), made, works_here=True)} == {"ok"}


def test_what_is_missing_where_tasks_are_only_queued_is_no_more_than_a_warning(
    line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_CURATE_FFMPEG", "no-such-program")
    facts, made = node.look(line()), line()
    verdicts = {
        works_here: [one.verdict for one in node.judge(facts, made, works_here=works_here) if one.what == "ffmpeg"]
        for works_here in (True, False)
    }
    assert verdicts == {True: [RED], False: [WARNING]}


def test_gpus_that_a_task_was_promised_and_does_not_see(line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    made = line()
    for asked, verdict in ((1, "ok"), (2, RED)):
        (found,) = [one for one in node.judge(node.look(made, asked), made, works_here=True) if one.what == "GPUs"]
        assert found.verdict == verdict


def test_gpus_that_a_stage_would_be_given_and_not_use_are_red(line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert node.look(line("resources.embed.gpus=1"), 1)["gpu_stages"] == {}  # that there is no GPU is said already
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # is seen, and there is no driver
    made = line("resources.embed.gpus=1")
    facts = node.look(made, 1)
    assert list(facts["gpu_stages"]) == ["embed"] and facts["gpu_stages"]["embed"]["onnxruntime"]
    (found,) = [one for one in node.judge(facts, made, works_here=True) if one.verdict == RED]
    assert found.what == "GPU use of embed" and "resources.embed.gpus=0" in found.advice


@pytest.mark.parametrize(
    ("used", "verdict"),
    [
        ({"onnxruntime": ""}, OK),
        ({"torch": "", "faiss": "this build has no CUDA"}, OK),
        ({"torch": "the model stays on the processor"}, RED),
        ({"error": "ConfigError: weights a.onnx: no such file"}, RED),
        ({}, WARNING),
    ],
)
def test_one_runtime_that_uses_the_gpu_is_enough(line: Any, used: dict[str, str], verdict: str) -> None:
    made = line()
    facts = {**node.look(made), "gpus": 1, "gpus_asked": 1, "gpu_stages": {"embed": used}}
    (found,) = [one for one in node.judge(facts, made, works_here=True) if one.what == "GPU use of embed"]
    assert found.verdict == verdict and bool(found.advice) == (verdict != OK)


def test_a_scratch_that_is_not_there_is_red(line: Any) -> None:
    made = line("++resources.cut.scratch=/no/such/scratch")
    found = [one for one in node.judge(node.look(made), made, works_here=True) if one.verdict == RED]
    assert [one.found for one in found] == ["/no/such/scratch: no such folder"]


@pytest.mark.parametrize(
    ("there", "verdicts"),
    [
        ({}, []),
        ({"python": "3.11.9"}, [WARNING]),
        ({"python": "3.9.1"}, [RED]),
        ({"hpc_curate": "0.0.9"}, [RED]),
        ({"weights": {"embed: a.onnx": 11}}, [RED]),
        ({"weights": {"embed": "no such file"}}, []),
    ],
)
def test_both_sides_of_a_pickle_are_the_same(there: dict[str, Any], verdicts: list[str]) -> None:
    here = {"python": "3.11.2", "hpc_curate": "0.1.0", "weights": {"embed: a.onnx": 10}}
    assert [finding.verdict for finding in node.compare(here, {**here, **there})] == verdicts
