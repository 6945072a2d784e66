"""Whose fault it is: the machine's, or the data's."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from hpc_curate.errors import CurateError, EnvironmentFault

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO, errno.EROFS, errno.ENOTCONN}
_PERMISSION = {errno.EACCES, errno.EPERM}
# As torch, onnxruntime and the libraries below them say it.
_GPU = re.compile(
    r"CUDA (driver|runtime|error|failure|initialization)|No CUDA GPUs|no CUDA-capable device"
    r"|(CUDNN|CUBLAS)[_ ](STATUS|failure)|cuDNN error|NVML"
)
_MEMORY = re.compile(r"out of memory|ALLOC_FAILED", re.IGNORECASE)  # asks for a smaller batch or a larger GPU


@contextmanager
def environment_faults(what: str, ours: bool = False) -> Iterator[None]:
    """Turn a full disk, a stale handle, a broken GPU and their like into an `EnvironmentFault`, so that no data is
    blamed.

    Args:
        ours: what is done is done in the folders of a run, where a lack of permission is no word about a video.
    """
    try:
        yield
    except CurateError:
        raise
    except Exception as error:
        fault = _fault(error, ours)
        if fault is None:
            raise
        raise EnvironmentFault(f"{what}: {fault}, then retry") from error


def _fault(error: Exception, ours: bool) -> str | None:
    """What is wrong with the machine and what to do; None if it is not to blame."""
    if ours and isinstance(error, OSError) and error.errno in _PERMISSION:
        return f"{error.strerror}: {error.filename}; have its owner open it (shareable=true opens a run to its group)"
    if isinstance(error, OSError) and error.errno in _DISK:
        return f"{error.strerror}; free the disk or leave the node"
    said = str(error)
    if _GPU.search(said) and not _MEMORY.search(said):
        return f"{said.strip().splitlines()[0]}; leave the node (nvidia-smi -q shows more)"
    return None
