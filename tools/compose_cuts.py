"""Reels whose transitions are known to the frame, composed from real shots with ffmpeg and a seed.

A reel is a row of pieces of different shots, 640 x 360 at 25 frames/s, joined by hard cuts, dissolves, fades through
black or white, and wipes. Some pieces hold what is no transition but looks like one: a flash, or a whip pan. Shots come
from the labelled clips and from clips of a single shot. An even seed takes the even ones of a clip's shots, an odd seed
the odd ones (or the first or second half of a single shot), so what was tuned on one is not what is reported on the
other.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hpc_curate.io import child

FPS = 25
SIZE = "640:360"
JOINS = ("cut", "cut", "dissolve", "dissolve", "fade_black", "fade_white", "wipe")
INSIDE = ("flash", "pan", "pan", "nothing")
WIPES = ("wipeleft", "wiperight", "wipeup", "wipedown", "circleopen", "circleclose", "smoothleft")
# Clips of one shot each: what they are grouped by, and frames that each has at least.
SINGLE_SHOTS = {"face.mp4": ("face", 470)} | {
    f"gymnast-{trial}-{camera}.mp4": ("gymnast", 100) for trial in (1, 2) for camera in (1, 2, 3, 4)
}
_MARGIN = 2  # frames between a labelled transition and a shot, because labels of gradual ones are that exact
_SHORTEST, _LONGEST = 45, 200  # frames of a piece
_ROOMY = 75  # frames of a piece in which something may happen apart from its transitions
_SEEK_FROM_S = 20.0


@dataclass(frozen=True)
class Shot:
    """Frames of a clip without a transition."""

    path: Path
    fps: float
    first: int
    frames: int


@dataclass
class _Reel:
    """A reel while it is put together: the graph, its label, its length, and what is known of it."""

    graph: list[str]
    out: str
    frames: int
    labels: dict[str, Any]


def shots(clips: Mapping[Path, dict[str, Any]], folder: Path, seed: int) -> dict[str, list[Shot]]:
    """By clip or group of clips, the shots that this seed may take pieces of."""
    found: dict[str, list[Shot]] = {}
    for path, labels in clips.items():
        edges = [(cut, cut) for cut in labels["hard_cuts"]]
        edges += [(first, last + 1) for first, last in (one["range"] for one in labels["gradual"])]
        edges += [(first, last + 1) for first, last in labels["ignore"]]
        edges = sorted([(0, 0), *edges, (labels["frames"], labels["frames"])])
        whole = [(end + _MARGIN, begin - _MARGIN) for (_, end), (begin, _) in pairwise(edges)]
        whole = whole[seed % 2 :: 2] if len(whole) > 1 else [_half(*whole[0], seed)]
        long = [(first, end) for first, end in whole if end - first >= _SHORTEST]
        found[path.name] = [Shot(path, labels["fps"], first, end - first) for first, end in long]
    for name, (group, frames) in SINGLE_SHOTS.items():
        first, end = _half(0, frames, seed)
        found.setdefault(group, []).append(Shot(folder / name, 60.0, first, end - first))
    return {name: some for name, some in found.items() if some}


def _half(first: int, end: int, seed: int) -> tuple[int, int]:
    middle = (first + end) // 2
    return (first, middle) if seed % 2 == 0 else (middle, end)


def compose(
    sources: Mapping[str, Sequence[Shot]], seed: int, count: int, target: Path, pieces: int = 13
) -> dict[Path, dict[str, Any]]:
    """Write `count` reels of so many pieces into the folder `target`.

    Returns:
        Their labels, in the form of tests/data/cuts.json, with `distractors`: flashes and pans.
    """
    chance = random.Random(seed)
    made = {}
    for number in range(count):
        path = target / f"reel-{seed}-{number}.mp4"
        chosen = [_piece(shot, chance) for shot in _chosen(sources, chance, pieces)]
        made[path] = _compose(chosen, chance, path)
    return made


def _compose(pieces: Sequence[Shot], chance: random.Random, path: Path) -> dict[str, Any]:
    inside = _shuffled(INSIDE, len(pieces), chance)
    joins = _shuffled(JOINS, len(pieces), chance)
    reel = _Reel([], "p0", pieces[0].frames, {"hard_cuts": [], "gradual": [], "ignore": [], "distractors": []})
    for number, piece in enumerate(pieces):
        what = inside[number] if piece.frames >= _ROOMY else "nothing"
        event = _inside(what, piece, chance)
        reel.graph.append(f"[{number}:v]{_prepared(piece, what, event)}[p{number}]")
        if number:
            _JOINS[joins[number]](reel, f"p{number}", piece.frames, chance)
        if what != "nothing":
            start = reel.frames - piece.frames
            reel.labels["distractors"].append({"type": what, "range": [start + event[0], start + event[1]]})
    _encode(pieces, reel, path)
    return {**reel.labels, "frames": reel.frames}


def _chosen(sources: Mapping[str, Sequence[Shot]], chance: random.Random, count: int) -> list[Shot]:
    """Half of them of the first clip, the film; the rest is spread over the others. Never one twice in a row."""
    film, *others = sources
    shots: list[Shot] = []
    while len(shots) < count:
        shot = chance.choice(sources[film if chance.random() < 0.5 else chance.choice(others)])
        if shot not in shots[-1:]:
            shots.append(shot)
    return shots


def _piece(shot: Shot, chance: random.Random) -> Shot:
    frames = chance.randint(_SHORTEST, min(shot.frames, _LONGEST))
    return Shot(shot.path, shot.fps, shot.first + chance.randint(0, shot.frames - frames), frames)


def _shuffled(kinds: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """Every kind about as often as any other, in any order."""
    repeated = list(kinds) * (-(-count // len(kinds)))
    chance.shuffle(repeated)
    return repeated[:count]


def _inside(what: str, piece: Shot, chance: random.Random) -> tuple[int, int]:
    """The first and last frame of what happens in the middle of a piece."""
    frames = 3 if what == "flash" else chance.randint(5, 12)
    first = piece.frames // 2 - frames // 2
    return first, first + frames - 1


def _prepared(piece: Shot, what: str, event: tuple[int, int]) -> str:
    """Filters: from the frames of a source to those of its piece."""
    first = event[0]
    start = 0 if _sought(piece) else piece.first
    chosen = f"trim=start_frame={start}:end_frame={start + piece.frames},setpts=N/{FPS}/TB,fps={FPS}"
    fill = "force_original_aspect_ratio=increase:flags=bicubic,crop"
    if what == "pan":
        # Twice as wide as is shown; eight moments make one blurred frame.
        seconds = (event[1] - first + 1) / FPS
        moving = f"clip((t-{first / FPS})/{seconds:.3f}\\,0\\,1)"
        view = f"fps={8 * FPS},scale=1280:720:{fill}=1280:360,crop={SIZE}:640*{moving}:0,tmix=8,fps={FPS}"
    else:
        view = f"scale={SIZE}:{fill}={SIZE}"
    if what == "flash":
        for after, strength in enumerate((0.9, 0.6, 0.3)):
            view += f",drawbox=c=white@{strength}:t=fill:enable='eq(n\\,{first + after})'"
    return f"{chosen},{view},trim=end_frame={piece.frames},{_STEADY}"


_STEADY = f"fps={FPS},settb=1/{FPS},setpts=N,setsar=1,format=yuv420p"


def _cut(reel: _Reel, piece: str, frames: int, chance: random.Random) -> None:
    reel.labels["hard_cuts"].append(reel.frames)
    _append(reel, piece, frames)


def _append(reel: _Reel, piece: str, frames: int) -> None:
    reel.graph.append(f"[{reel.out}][{piece}]concat=n=2,{_STEADY}[{piece}out]")
    reel.out, reel.frames = f"{piece}out", reel.frames + frames


def _mix(reel: _Reel, piece: str, frames: int, chance: random.Random, kind: str = "dissolve") -> None:
    lasts = chance.randint(6, 20)
    first = reel.frames - lasts
    filters = chance.choice(WIPES) if kind == "wipe" else "fade"
    timing = f"duration={lasts / FPS}:offset={first / FPS}"
    reel.graph.append(f"[{reel.out}][{piece}]xfade=transition={filters}:{timing},{_STEADY}[{piece}out]")
    reel.labels["gradual"].append({"type": kind, "range": [first, first + lasts - 1]})
    reel.out, reel.frames = f"{piece}out", first + frames


def _wipe(reel: _Reel, piece: str, frames: int, chance: random.Random) -> None:
    _mix(reel, piece, frames, chance, "wipe")


def _fade(reel: _Reel, piece: str, frames: int, chance: random.Random, color: str = "black") -> None:
    """Out, a moment of the colour, in."""
    out, still, into = chance.randint(6, 20), chance.randint(1, 12), chance.randint(6, 20)
    first = reel.frames - out
    reel.graph.append(f"[{reel.out}]fade=out:{first}:{out}:color={color}[{piece}a]")
    reel.graph.append(f"[{piece}]fade=in:0:{into}:color={color}[{piece}b]")
    size = SIZE.replace(":", "x")
    reel.graph.append(f"color={color}:s={size}:r={FPS},trim=end_frame={still},{_STEADY}[{piece}c]")
    reel.graph.append(f"[{piece}a][{piece}c][{piece}b]concat=n=3,{_STEADY}[{piece}out]")
    reel.out, reel.frames = f"{piece}out", reel.frames + still + frames
    last = first + out + still + into - 1
    reel.labels["gradual"].append({"type": f"fade_{color}", "range": [first, last]})


def _fade_white(reel: _Reel, piece: str, frames: int, chance: random.Random) -> None:
    _fade(reel, piece, frames, chance, "white")


_JOINS = {"cut": _cut, "dissolve": _mix, "wipe": _wipe, "fade_black": _fade, "fade_white": _fade_white}


def _encode(pieces: Sequence[Shot], reel: _Reel, path: Path) -> None:
    command = [child.ffmpeg(), "-v", "error", "-nostdin", "-y"]
    for piece in pieces:
        command += [*_sought(piece), "-i", child.source(piece.path)]
    command += ["-filter_complex", ";".join(reel.graph), "-map", f"[{reel.out}]"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", "1", f"file:{path}"]
    subprocess.run(command, check=True)


def _sought(piece: Shot) -> list[str]:
    """Options that begin to decode at the piece; short clips are decoded from their beginning."""
    start_s = (piece.first - 0.5) / piece.fps
    return ["-ss", f"{start_s:.4f}", "-t", f"{piece.frames / piece.fps + 1:.4f}"] if start_s > _SEEK_FROM_S else []
