"""An ffmpeg that waits, so that who uses it is caught in the middle of its work, however fast or slow a machine is."""

from pathlib import Path

WAITS = """#!/bin/sh
[ "$1" = -version ] || {{
  trap '' TERM USR1 USR2
  while [ -e '{hold}' ]; do sleep 0.2; done
  trap - TERM USR1 USR2
}}
exec '{ffmpeg}' "$@"
"""


def waiting_ffmpeg(folder: Path, ffmpeg: str) -> tuple[Path, Path]:
    """A program for HPC_CURATE_FFMPEG, and the file for as long as which it waits, whatever signals come."""
    program, hold = folder / "ffmpeg", folder / "hold"
    hold.touch()
    program.write_text(WAITS.format(hold=hold, ffmpeg=ffmpeg))
    program.chmod(0o755)
    return program, hold
