"""hpc_curate: GPU job arrays that turn raw video into training data."""

import os

__version__ = "0.1.0"

# Official builds of onnxruntime (since 1.32) report every process to their maker, and keep an identifier and a database
# in the home folder, where the tasks of an array would all write at once; huggingface_hub and vLLM, which heed the
# second name, report too. Bars of huggingface_hub and transformers would push what matters out of the end of a log.
# Whoever wants any of it sets them to 0.
for _name in ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_PROGRESS_BARS"):
    os.environ.setdefault(_name, "1")
