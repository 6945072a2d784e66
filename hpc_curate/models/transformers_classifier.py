"""Any image classifier of `transformers`, from a local folder and never a hub.

Model, revision and normalisation are those of the folder (config.json, preprocessor_config.json): their checksums enter
the signature of the stage. Code that comes with weights is not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate.errors import ConfigError
from hpc_curate.models.sessions import in_batches, log
from hpc_curate.stage import Resources


def load(folder: Path, labels: Sequence[str], resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 [N, H, W, 3] to float32 [N], the chance (softmax) of any of these labels.

    Raises:
        ConfigError: the model has no such label.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    torch.set_num_threads(resources.cpus)
    device = "cuda" if resources.gpus and torch.cuda.is_available() else "cpu"
    if resources.gpus and device == "cpu":
        log.warning("%s runs on the processor: torch sees no GPU", folder.name)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    processor = AutoImageProcessor.from_pretrained(folder, **local)
    model: Any = AutoModelForImageClassification.from_pretrained(folder, **local)
    model.to(device).eval()
    numbers = {label: number for number, label in model.config.id2label.items()}
    if unknown := sorted(set(labels) - set(numbers)):
        raise ConfigError(f"{folder.name} has no label {', '.join(unknown)}; it has {', '.join(numbers)}")
    wanted = [numbers[label] for label in labels]

    def run(some: np.ndarray) -> np.ndarray:
        inputs = processor(images=list(some), input_data_format="channels_last", return_tensors="pt").to(device)
        with torch.inference_mode():
            return model(**inputs).logits.float().softmax(dim=-1)[:, wanted].sum(dim=-1).cpu().numpy()

    return lambda frames: in_batches(run, frames)
