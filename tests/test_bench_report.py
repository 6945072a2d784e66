"""The benchmark of the report on a small run: its figures are of pages that show what a run has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_report_of_a_synthetic_run_is_drawn_and_measured(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    command = [sys.executable, ROOT / "tools" / "bench_report.py", "--units", "2", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    if "there is no Chromium" in done.stderr:
        pytest.skip("no Chromium; `tools/check.sh --install` installs it")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("200 clips: ")
    rows = re.findall(r"^(\w+)\.html, (narrow|wide) +[\d.]+ +(\d+) +\d+ +\d+ +\d+$", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == ["index"] * 2 + ["clips"] * 2 + ["thresholds"] * 2
    assert all(100 < int(elements) < 5_000 for _, _, elements in rows)
    clips = (tmp_path / "report" / "clips.html").read_text()
    assert "Duplicates, group by group" in clips and "Cluster" in clips and "<svg" in clips
