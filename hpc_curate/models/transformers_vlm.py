"""Any image-text-to-text model of `transformers` in this process, from a local folder and never a hub.

Model, revision and normalisation are those of the folder (config.json, preprocessor_config.json, the chat template):
their checksums enter the signature of the stage. Code that comes with weights is not run.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_curate.chat.questions import Answer, Question
from hpc_curate.models.sessions import log
from hpc_curate.stage import Resources


def load(folder: Path, resources: Resources) -> Callable[[Question], Answer]:
    """A function that answers one question. With a temperature it draws from the question's own seed."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.set_num_threads(resources.cpus)
    device = "cuda" if resources.gpus and torch.cuda.is_available() else "cpu"
    if resources.gpus and device == "cpu":
        log.warning("%s runs on the processor: torch sees no GPU", folder.name)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    processor = AutoProcessor.from_pretrained(folder, **local)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto", **local)
    model.to(device).eval()

    def answer(question: Question) -> Answer:
        pictures = [Image.open(io.BytesIO(jpeg)) for jpeg in question.jpegs]
        content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
        content.append({"type": "text", "text": question.text})
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(device, dtype=model.dtype)
        asked = inputs["input_ids"].shape[1]
        draw = (
            {"do_sample": True, "temperature": question.temperature} if question.temperature else {"do_sample": False}
        )
        torch.manual_seed(question.seed)
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=question.sampling.max_tokens, **draw)[0, asked:]
        text = processor.decode(made, skip_special_tokens=True)
        cut_off = len(made) >= question.sampling.max_tokens and int(made[-1]) not in _ends(model)
        return Answer(question.id, text, "length" if cut_off else "stop", None, asked, len(made))

    return answer


def _ends(model: Any) -> set[int]:
    """The tokens that end an answer."""
    told = model.generation_config.eos_token_id
    return set(told) if isinstance(told, list) else {told}
