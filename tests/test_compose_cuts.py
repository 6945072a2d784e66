"""Composed reels: their transitions lie where their labels say, and a seed makes the same ones again."""

import json
from pathlib import Path

import compose_cuts
import numpy as np

CUTS = Path(__file__).with_name("data") / "cuts.json"


def sources(footage, seed):
    labels = json.loads(CUTS.read_text())
    film = next(value for name, value in labels.items() if name.endswith("bbb.mp4"))
    return compose_cuts.shots({footage / "bbb.mp4": film}, footage, seed)


def test_an_odd_and_an_even_seed_share_no_frame(footage):
    def frames(seed):
        shots = [shot for some in sources(footage, seed).values() for shot in some]
        return {(shot.path, frame) for shot in shots for frame in range(shot.first, shot.first + shot.frames)}

    assert frames(2) == frames(4) and not frames(1) & frames(2)
    assert min(len(frames(1)), len(frames(2))) > 1000


def test_shots_have_no_labelled_transition(footage):
    film = sources(footage, 1)["bbb.mp4"] + sources(footage, 2)["bbb.mp4"]
    cuts = [285, 378, 553, 1145, 13942]
    assert not [shot for shot in film for cut in cuts if shot.first < cut < shot.first + shot.frames]
    assert not [shot for shot in film if shot.first < 60]


def test_transitions_are_where_the_labels_say(footage, tmp_path):
    from hpc_curate.io import child, video

    shots = sources(footage, 2)
    ((path, labels),) = compose_cuts.compose(shots, 5, 1, tmp_path, pieces=4).items()
    facts = video.probe(path)
    policy = video.Policy(child.Limits(memory_gb=4, cpu_s=60, wall_s=120, file_gb=0.1))
    with video.Decoding(path, facts, [video.small_grid(facts, 64)], policy) as decoding:
        pixels = np.concatenate([frames.pixels for _, frames in decoding]).astype(int)
    assert len(pixels) == labels["frames"] and facts.fps == compose_cuts.FPS
    known = [(cut, cut) for cut in labels["hard_cuts"]] + [tuple(one["range"]) for one in labels["gradual"]]
    assert len(known) == 3
    for first, last in known:
        across = np.abs(pixels[last + 1] - pixels[first - 1]).mean()
        before, after = (np.abs(pixels[at] - pixels[at - 3]).mean() for at in (first - 1, last + 4))
        assert across > 2 * max(before, after)
    elsewhere = tmp_path / "again"
    elsewhere.mkdir()
    ((again, labels_again),) = compose_cuts.compose(shots, 5, 1, elsewhere, pieces=4).items()
    assert labels_again == labels and again.read_bytes() == path.read_bytes()
