import numpy as np

from hpc_curate.clips.batches import per_clip
from hpc_curate.stage import Clip


def clip(*greys, width=4):
    frames = np.stack([np.full((2, width, 3), grey, np.uint8) for grey in greys])
    return Clip("", frames, np.arange(float(len(greys))))


def test_clips_of_one_size_go_through_together_and_come_back_apart():
    counts = []

    def grey(frames):
        counts.append(len(frames))
        return frames[:, 0, 0, 0]

    clips = [clip(1, 2), clip(3), clip(4, width=6), clip(5, 6, 7)]
    assert [values.tolist() for values in per_clip(grey, clips)] == [[1, 2], [3], [4], [5, 6, 7]]
    assert counts == [3, 1, 3]


def test_no_clips_give_nothing():
    assert per_clip(lambda frames: frames, []) == []
