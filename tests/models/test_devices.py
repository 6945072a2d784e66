"""Whether the models of a stage use a GPU, seen from what was loaded."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import config, overrides
from hpc_curate.models import devices


def test_a_child_loads_what_a_task_would_and_says_why_it_is_not_on_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("faiss")
    config.register()
    settings = config.resolve(overrides.compose([f"input={tmp_path}", f"run_dir={tmp_path / 'run'}"]))
    found = {}
    for stage in ("embed", "dedup"):
        command = [sys.executable, "-m", "hpc_curate.models.devices", json.dumps(settings), stage]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={"CUDA_VISIBLE_DEVICES": ""})
        found[stage] = json.loads(done.stdout)
    assert list(found["embed"]) == ["onnxruntime"] and found["embed"]["onnxruntime"]
    assert list(found["dedup"]) == ["faiss"] and found["dedup"]["faiss"]


def test_a_network_of_torch_is_known_by_where_its_weights_are() -> None:
    torch: Any = pytest.importorskip("torch")
    network = torch.nn.Linear(2, 2)
    if not torch.cuda.is_available():
        assert "CUDA" in devices.of_loaded([network])["torch"] or "driver" in devices.of_loaded([network])["torch"]
    on_gpu = type("Weight", (), {"is_cuda": True})()
    network.parameters = lambda: [on_gpu]
    assert devices.of_loaded([network]) == {**devices.of_loaded([]), "torch": ""}


def test_a_runtime_that_was_imported_and_holds_no_model_is_not_in_use() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    assert set(devices.of_loaded([gc])) <= {"faiss"}
