"""Where the models of a stage run: `doctor` asks before anybody pays for GPUs that would stay idle.

A child process, because it loads what a task would load: `python -m hpc_curate.models.devices SETTINGS STAGE` prints
JSON: the runtimes that the stage uses, and why one cannot use a GPU; an empty text where it does.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any


def main(arguments: list[str]) -> int:
    from hpc_curate import plan

    settings, name = json.loads(arguments[0]), arguments[1]
    step = plan.build(settings, 0).steps[name]
    model = step.stage.load(step.resources)
    print(json.dumps(of_loaded(gc.get_objects())))
    del model  # until here, so that what it holds was there to be looked at
    return 0


def of_loaded(objects: list[Any]) -> dict[str, str]:
    """Why each runtime cannot use a GPU, by its name; an empty text where it does.

    What was loaded is looked at, and not what was installed: a runtime that offers CUDA falls back to the processor
    where a library below it is missing, with no more than a line in the log.

    Args:
        objects: all that Python knows of in this process.
    """
    found = {}
    for name, ask in (("onnxruntime", _onnxruntime), ("torch", _torch), ("faiss", _faiss)):
        why = ask(sys.modules[name], objects) if name in sys.modules else None
        if why is not None:
            found[name] = why
    return found


def _onnxruntime(module: Any, objects: list[Any]) -> str | None:
    """None: there is no session of it."""
    sessions = [one for one in objects if type(one) is module.InferenceSession]
    if not sessions:
        return None
    if any("CUDAExecutionProvider" in session.get_providers() for session in sessions):
        return ""
    if "CUDAExecutionProvider" not in module.get_available_providers():
        return f"this build has only {', '.join(module.get_available_providers())}"
    return "its CUDA libraries could not be loaded"


def _torch(module: Any, objects: list[Any]) -> str | None:
    """None: there is no network of it."""
    networks = [one for one in objects if issubclass(type(one), module.nn.Module)]
    if not networks:
        return None
    if any(weight.is_cuda for network in networks for weight in network.parameters()):
        return ""
    if module.version.cuda is None:
        return f"this build ({module.__version__}) has no CUDA"
    return "the model stays on the processor" if module.cuda.is_available() else "it cannot use the driver of this node"


def _faiss(module: Any, _objects: list[Any]) -> str | None:
    return "" if module.get_num_gpus() else "this build has no CUDA, or sees no GPU"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
