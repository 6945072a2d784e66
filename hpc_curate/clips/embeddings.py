"""Vectors of clips: what they are read as, and that only those of one model are ever compared.

The column `embedding_model` says of each vector what made it: `open_clip:ViT-B-32@openai/4f2e1c0a9b8d/c1d2e3f4` is the
model and its architecture, the beginning of the SHA-256 of its weights, and a digest of how pictures were normalised.
Stage embed spells all of it out in its table `embedding_models`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from hpc_curate.errors import ConfigError

MODELS = pa.schema(
    [
        ("embedding_model", pa.string()),  # as in the rows
        ("name", pa.string()),  # model, and architecture where it has several
        ("weights_sha256", pa.string()),
        ("normalisation", pa.string()),  # of pictures, before the network
        ("dimensions", pa.int32()),
    ]
)


def identity(name: str, weights_sha256: str, normalisation: str) -> str:
    """What stands in `embedding_model`; equal for vectors that may be compared, and for no others."""
    return f"{name}/{weights_sha256[:12]}/{hashlib.sha256(normalisation.encode()).hexdigest()[:8]}"


def family(model: str) -> str:
    """The setting `model` of stage embed in an `embedding_model`: efficientnet, open_clip, sscd."""
    return model.split("/")[0].split(":")[0]


def one_model(models: pa.ChunkedArray) -> str | None:
    """The model of these vectors; None where there is no vector.

    Raises:
        ConfigError: there are several.
    """
    named = sorted(models.unique().drop_null().to_pylist())
    if len(named) > 1:
        raise ConfigError(f"embeddings of different models cannot be compared: {', '.join(named)}")
    return named[0] if named else None


def refuse_other(who: str, own: str, models: pa.ChunkedArray) -> None:
    """Stop before vectors of another model, other weights or another normalisation are compared with one's own.

    Raises:
        ConfigError: the vectors are of another model than `own`.
    """
    found = one_model(models)
    if found not in (None, own):
        raise ConfigError(
            f"{who} is for embeddings of {own}, these are of {found}: model, weights and normalisation must be the same"
        )


def valid(column: pa.ChunkedArray) -> np.ndarray:
    """int64: the rows that are not null."""
    return np.flatnonzero(np.asarray(column.is_valid()))


def vectors(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a vector, and the vectors: int64 [N], float16 [N, D]."""
    parts = [np.asarray(chunk.drop_null().flatten(), np.float16) for chunk in column.chunks]
    if len(parts) != 1:  # joining copies, and this may be most of the memory
        parts = [np.concatenate([*parts, np.zeros(0, np.float16)])]
    return valid(column), parts[0].reshape(-1, column.type.list_size)
