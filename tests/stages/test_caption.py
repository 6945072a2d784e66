"""Captions of clips that can be told apart by their pictures, by a model that says what it sees."""

import base64
import io
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hpc_curate.chat.answers import Answers
from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.chat.local_channel import Local
from hpc_curate.chat.questions import Answer
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.stage import Clip, Item, Resources
from hpc_curate.stages import caption
from hpc_curate.stages.caption import Caption, windows

PROMPTS = {"long": {"text": "Tell all.", "max_tokens": 99}, "short": {"text": "Tell little."}}


class Run:
    """Inputs: clips of one grey each, of ten seconds, two frames a second."""

    resources = Resources()

    def __init__(self, folder, greys, crop=None, bad=()):
        self.folder, self.greys, self.crop, self.bad = folder, greys, crop, bad
        self.attempts = 0

    def has(self, name):
        return not name.startswith("crop_") or self.crop is not None

    def frames(self, ids, count, columns=()):
        told = {"duration_s": 10.0, "width": 160, "height": 120, **(self.crop or {})}
        for clip_id in ids:
            if clip_id in self.bad:
                yield clip_id, BadInput("no frame")
                continue
            times = np.arange(20) * 0.5
            chosen = np.unique(((np.arange(count) + 0.5) * 20 / count).astype(int))
            frames = np.full((len(chosen), 60, 80, 3), self.greys[clip_id], np.uint8)
            frames[:, :10] = 255  # a bar that cropping takes away
            yield clip_id, Clip(clip_id, frames, times[chosen], {name: told[name] for name in columns})

    def answers(self):
        self.attempts += 1
        before = sorted(self.folder.glob("*.jsonl"))
        return Answers(self.folder / f"00000.{self.attempts}.jsonl", before)


def ids(count):
    return tuple(f"v{n}_0_{n}" for n in range(count))


def seen(question):
    """The pictures of a question as it goes over the wire: uint8 [H, W, 3] each."""
    *pictures, words = question.body()["messages"][0]["content"]
    assert words["type"] == "text"
    data = [base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) for part in pictures]
    return [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in data]


def tells_grey(question):
    pictures = seen(question)
    told = f"{len(pictures)} pictures,\n grey {round(float(np.mean([p[30:] for p in pictures])), -1):.0f}, "
    return Answer(question.id, told + question.text.split()[-1], "stop", None, 100, 7)


def captioned(run, stage, model=tells_grey, clips=None):
    item = Item("all", clips or tuple(run.greys))
    return stage.process(Local(model), run, item)["rows"]


def test_every_clip_gets_what_was_said_of_its_own_pictures(tmp_path):
    run = Run(tmp_path, {clip: 10 * n for n, clip in enumerate(ids(20))}, bad=ids(4)[3:])
    rows = captioned(run, Caption(prompts=PROMPTS))
    assert rows["clip_id"].to_pylist() == list(ids(20))
    for n, row in enumerate(rows.to_pylist()):
        if n == 3:
            assert (row["caption"], row["captions"], row["error"]) == (None, None, "no frame")
            continue
        assert row["caption"] == f"8 pictures, grey {10 * n}, all."
        assert row["captions"] == [
            {"variant": "long", "start_s": 0.0, "end_s": 10.0, "text": f"8 pictures, grey {10 * n}, all."},
            {"variant": "short", "start_s": 0.0, "end_s": 10.0, "text": f"8 pictures, grey {10 * n}, little."},
        ]
        assert (row["caption_input_tokens"], row["caption_output_tokens"]) == (200, 14)
        assert row["caption_model"] == "Qwen/Qwen2.5-VL-7B-Instruct"
        assert row["error"] is None


@pytest.mark.parametrize(
    ("model", "revision", "named"), [("a/b", None, "a/b"), ("a/b", "2", "a/b@2"), ("/weights/of/b", "2", "b@2")]
)
def test_the_model_is_named_without_a_path_of_this_machine(tmp_path, model, revision, named):
    stage = Caption(prompts=PROMPTS, model=model, revision=revision)
    assert captioned(Run(tmp_path, {"v_0_1": 50}), stage)["caption_model"].to_pylist() == [named]


def test_windows_have_captions_and_frames_of_their_own(tmp_path):
    run = Run(tmp_path, {"v_0_1": 50})
    [row] = captioned(run, Caption(prompts=PROMPTS, window_s=4, frames_per_clip=5)).to_pylist()
    spans = [(part["variant"], part["start_s"], part["end_s"]) for part in row["captions"]]
    assert spans == [(name, *span) for span in [(0.0, 4.0), (4.0, 8.0), (8.0, 10.0)] for name in ("long", "short")]
    assert [part["text"][:1] for part in row["captions"]] == ["5", "5", "5", "5", "4", "4"]
    assert row["caption"].splitlines() == [part["text"] for part in row["captions"] if part["variant"] == "long"]


@pytest.mark.parametrize(
    ("duration_s", "found"),
    [
        (10.0, [(0, 5), (5, 10)]),
        (12.4, [(0, 5), (5, 12.4)]),
        (12.6, [(0, 5), (5, 10), (10, 12.6)]),
        (2.0, [(0, 2)]),
    ],
)
def test_a_short_rest_belongs_to_the_last_window(duration_s, found):
    assert windows(duration_s, 5.0) == found
    assert windows(duration_s, None) == [(0.0, duration_s)]


def test_a_window_without_a_frame_is_an_error(tmp_path):
    run = Run(tmp_path, {"v_0_1": 50})
    [row] = captioned(run, Caption(prompts=PROMPTS, window_s=0.3)).to_pylist()
    assert row["caption"] is None and "raise stage.scan.pack_per_s" in row["error"]


def test_the_model_sees_the_cropped_picture_no_larger_than_asked(tmp_path):
    bars = {"crop_x": 0, "crop_y": 20, "crop_w": 160, "crop_h": 100}
    shapes = []

    def look(question):
        shapes.append([(picture.shape, int(picture[0, 0, 0])) for picture in seen(question)])
        return Answer(question.id, "a picture", "stop")

    for crop in (bars, None):
        captioned(Run(tmp_path / str(bool(crop)), {"v_0_1": 50}, crop), Caption(prompts=PROMPTS), look)
    small = Caption(prompts=PROMPTS, picture_px=40, frames_per_clip=1)
    captioned(Run(tmp_path / "small", {"v_0_1": 50}, bars), small, look)
    [cropped, _, whole, _, reduced, _] = shapes
    assert cropped == [((50, 80, 3), 50)] * 8
    assert whole == [((60, 80, 3), 255)] * 8
    assert reduced == [((25, 40, 3), 50)]


@pytest.mark.parametrize(
    ("text", "finish", "error"),
    [
        (" \n ", "stop", "long 0 10: the caption is empty, 3 times"),
        (None, "stop", "long 0 10: the caption is empty, 3 times"),
        ("A red car dri", "length", "long 0 10: the caption was ended by 'length' at max_tokens=99, 3 times"),
        ("A", "content_filter", "long 0 10: the caption was ended by 'content_filter', 3 times"),
    ],
)
def test_what_is_no_caption_is_an_error_of_that_clip_alone(tmp_path, text, finish, error):
    def sometimes(question):
        good = tells_grey(question)
        spoilt = question.clip_id == "v1_0_1" and question.text.endswith("all.")
        return Answer(question.id, text, finish, None, 100, 7) if spoilt else good

    run = Run(tmp_path, {clip: 10 for clip in ids(3)})
    rows = captioned(run, Caption(prompts=PROMPTS), sometimes).to_pylist()
    assert [row["error"] for row in rows] == [None, error, None]
    assert rows[1]["caption"] is None and rows[1]["captions"] is None
    assert rows[1]["caption_output_tokens"] == 4 * 7  # three of them in vain
    assert rows[0]["caption"] and rows[2]["caption"]


def test_a_task_that_is_killed_pays_for_nothing_twice(tmp_path):
    asked = []

    def model(question):
        asked.append(question.id)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return tells_grey(question)

    run = Run(tmp_path, {clip: 10 * n for n, clip in enumerate(ids(6))})
    with pytest.raises(KeyboardInterrupt):
        captioned(run, Caption(prompts=PROMPTS), model)
    rows = captioned(run, Caption(prompts=PROMPTS), model)
    assert len(asked) == 12 + 1 and len(set(asked)) == 12  # one was on its way
    assert rows["error"].null_count == 6
    assert len(list(tmp_path.iterdir())) == 1


def test_another_prompt_more_asks_for_that_alone(tmp_path):
    run, asked = Run(tmp_path, {"v_0_1": 10}), []

    def model(question):
        asked.append(question.part)
        return tells_grey(question)

    captioned(run, Caption(prompts=PROMPTS), model)
    captioned(run, Caption(prompts={**PROMPTS, "third": {"text": "Again."}}), model)
    captioned(run, Caption(prompts=PROMPTS, model="other"), model)
    names = [part.split()[0] for part in asked]
    assert names == ["long", "short", "third", "long", "short"]


def test_the_order_of_prompts_counts_and_where_the_model_is_does_not():
    one, other = Caption(prompts=PROMPTS), Caption(prompts=dict(reversed(PROMPTS.items())))
    assert one.signature([]) != other.signature([])
    assert one.signature([]) != Caption(prompts=PROMPTS, revision="2").signature([])
    assert re.fullmatch("[0-9a-f]{16}", one.signature([]))


def test_a_model_must_be_somewhere():
    stage = Caption(prompts=PROMPTS)
    with pytest.raises(ConfigError, match=r"resources.caption.endpoint.url=http"):
        stage.check(Resources())
    with pytest.raises(ConfigError, match=r"resources.caption.endpoint.url=http"):
        stage.check(Resources(endpoint=Endpoint()))
    stage.check(Resources(endpoint=Endpoint(url="http://host/v1")))
    stage.check(Resources(endpoint=Endpoint(serve=("vllm",))))
    Caption(prompts=PROMPTS, backend="transformers", weights_path="x").check(Resources())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"prompt=\[default\]"),
        ({"prompts": {"a": {}}}, "prompts.a must be"),
        ({"prompts": {"a": "words"}}, "prompts.a must be"),
        ({"prompts": {"A b": {"text": "x"}}}, "prompts.A b must be"),
        ({"prompts": {"a": {"text": "x", "model": "y"}}}, "prompts.a must be"),
        ({"prompts": PROMPTS, "window_s": 0}, "window_s must be above 0"),
        ({"prompts": PROMPTS, "backend": "transformers"}, "needs weights_path"),
        ({"prompts": PROMPTS, "tries": 0}, "at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Caption(**settings)


def test_weights_of_a_model_in_this_process_are_part_of_the_signature(tmp_path):
    def signature(content):
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "model.safetensors").write_text(content)
        return Caption(prompts=PROMPTS, backend="transformers", weights_path=str(tmp_path)).signature([])

    assert signature("one") != signature("other")
    with pytest.raises(ConfigError, match="no config.json"):
        Caption(prompts=PROMPTS, backend="transformers", weights_path="nowhere").signature([])


def test_facts_say_how_many_clips_each_model_has_captioned():
    columns = {"caption": ["a", "b", None], "caption_model": ["m", "n", None]}
    columns |= {"caption_input_tokens": [10, 20, 30], "caption_output_tokens": [1, 2, None]}
    rows = caption.facts(pa.table(columns)).to_pylist()
    assert rows == [
        {"model": "m", "clips": 1, "input tokens": 10, "output tokens": 1},
        {"model": "n", "clips": 1, "input tokens": 20, "output tokens": 2},
        {"model": None, "clips": 0, "input tokens": 30, "output tokens": None},
    ]
