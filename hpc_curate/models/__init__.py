"""Networks, one file each: the only folder that may import torch or onnxruntime, and only inside `load`."""

# The cosine from which two clips are taken for duplicates, by the embedder of stage `embed`.
DUPLICATE_SIMILARITY = {
    # Measured on spans of 5 s, 4 frames each: 1836 pairs of one span in two of 18 containers (176 x 144) are
    # all at 0.956 or more; of 29 thousand pairs from different films none is above 0.58; of 8 thousand pairs of
    # different spans of one film 13 are at 0.95 or more. That says nothing about crops, overlays or other films.
    "efficientnet": 0.95,
    # Not measured: no weights were at hand. Choose from the histogram of your own clips.
    "open_clip": 0.95,
    # Not measured: the threshold that the authors give for a precision of 0.9 between pictures (arXiv 2202.10261).
    "sscd": 0.75,
}
