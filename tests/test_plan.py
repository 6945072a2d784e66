"""Plans on disk: what was asked comes back, wherever it is read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from hpc_curate import plan as plans
from hpc_curate.plan import Plan

READ = """
import sys
from pathlib import Path
from hpc_curate import plan
print(ascii(plan.load(Path(sys.argv[1])).asked))
"""


def test_a_plan_is_read_in_any_locale(prepared: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    line, asked = prepared("stage=[scan]", units=1), ("input='/data/vidéos'",)
    line.file.unlink()
    plans.save(replace(line, asked=asked))
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    read = subprocess.run([sys.executable, "-c", READ, str(line.file)], capture_output=True, text=True)
    assert (read.stdout.strip(), read.stderr) == (ascii(asked), "")
