"""The command line, run as a user would."""

import subprocess
import sys
from pathlib import Path


def curate(*words: str | Path, code: int = 0) -> str:
    """What it prints; fails with all that it said if it ends with another code."""
    command = [sys.executable, "-m", "hpc_curate", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout
