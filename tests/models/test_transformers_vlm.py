"""A tiny LLaVA with random weights, made here: what it says means nothing, but it goes through every step."""

import io

import numpy as np
import pytest

from hpc_curate.chat.questions import Question, Sampling
from hpc_curate.stage import Resources
from hpc_curate.stages.caption import Caption

WORDS = ["a", "red", "square", "moves", "left", "the", "camera", "is", "still", "describe"]
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random LLaVA: two layers of CLIP, two of Llama, a vocabulary of fourteen words."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: at for at, word in enumerate(["<pad>", "<s>", "</s>", "<image>", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    size = {"height": 32, "width": 32}
    pictures = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    processor = transformers.LlavaProcessor(
        pictures,
        fast,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**shape, image_size=32, patch_size=16, projection_dim=32),
        text_config=transformers.LlamaConfig(
            **shape, vocab_size=len(vocabulary), eos_token_id=2, pad_token_id=0, bos_token_id=1
        ),
        image_token_id=vocabulary["<image>"],
        vision_feature_layer=-1,
    )
    made = tmp_path_factory.mktemp("random") / "llava"
    transformers.LlavaForConditionalGeneration(config).save_pretrained(made)
    processor.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def model(folder):
    from hpc_curate.models import transformers_vlm

    return transformers_vlm.load(folder, Resources(cpus=1))


def jpeg(grey):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((40, 48, 3), grey, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def question(*greys, **sampling):
    settings = Sampling(**{"temperature": 0.0, "max_tokens": 6, **sampling})
    return Question("v_0_1", "default", "random", "describe the square", tuple(map(jpeg, greys)), settings)


def test_it_answers_with_words_and_counts_tokens(model):
    asked = question(10, 200)
    answer = model(asked)
    assert answer.id == asked.id
    assert set((answer.text or "").split()) <= {*WORDS, "<image>"}
    assert answer.input_tokens == 2 * 4 + 3  # four patches a picture, three words
    assert 1 <= answer.output_tokens <= 6
    assert answer.finish == ("length" if answer.output_tokens == 6 else "stop")


def test_it_sees_the_pictures(model):
    import torch

    texts = {model(question(grey, max_tokens=12)).text for grey in (0, 60, 128, 190, 255)}
    assert torch.is_inference_mode_enabled() is False
    assert len(texts) > 1


def test_an_answer_depends_on_its_own_seed_and_not_on_what_was_asked_before(model):
    drawn = [model(question(10, temperature=2.0, seed=seed)).text for seed in (1, 2, 3, 4)]
    assert len(set(drawn)) > 1
    assert model(question(10, temperature=2.0, seed=1)).text == drawn[0]


def test_what_is_cut_off_says_so(model):
    drawn = [model(question(10, temperature=2.0, seed=seed)) for seed in range(16)]
    assert {answer.finish for answer in drawn} == {"stop", "length"}
    assert all(answer.finish == "stop" for answer in drawn if answer.output_tokens < 6)


def test_a_stage_finds_it_by_its_folder(folder):
    stage = Caption(prompts={"short": {"text": "describe"}}, backend="transformers", weights_path=str(folder))
    assert len(stage.signature([])) == 16
    channel = stage.load(Resources(cpus=1))
    asked = [question(10), question(200)]
    for one in asked:
        channel.send(one)
    answers = [channel.receive(0) for _ in asked]
    assert [answer.id for answer in answers] == [one.id for one in asked]
    assert channel.receive(0) is None
