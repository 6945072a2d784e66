"""A task that runs other code than the one that queued it does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import code, launch
from hpc_curate.run_folder import submissions


def test_an_element_of_other_code_stops_and_says_so(prepared: Any, caplog: pytest.LogCaptureFixture) -> None:
    plan = prepared("stage=[scan]", "launch=local")
    record = submissions.prepare(plan, "scan", [(0,)], here=True)
    path = plan.paths.submission(record.name)
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": "of another day", "a_later_field": 1}))
    with pytest.raises(SystemExit) as stopped:
        launch.element(str(plan.file), "scan", record.name, "0")
    assert stopped.value.code == 2
    assert "queued by other code" in caplog.text
    caplog.clear()
    assert not list(plan.paths.root.glob("scan/*"))


def test_the_fingerprint_is_of_the_modules_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "io").mkdir()
    (tmp_path / "code.py").write_text("")
    (tmp_path / "io" / "tars.py").write_text("a = 1")
    monkeypatch.setattr(code, "__file__", str(tmp_path / "code.py"))
    before = code.fingerprint.__wrapped__()
    (tmp_path / "io" / "tars.py").write_text("a = 2")
    assert code.fingerprint.__wrapped__() != before
