"""Files of a dataset on a Hugging Face hub: hf://datasets/OWNER/NAME[@REVISION][/FOLDER]."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpc_curate import credentials, sources
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, ConfigError, NotInstalled, Unavailable
from hpc_curate.io.patience import Passing, Unreached, patiently
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.turns import Turns
from hpc_curate.records import Video

SCHEMES = ("hf",)
_PLACE = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.*))?\Z")


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.startswith("hf://")


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """All videos of the dataset, or of a folder of it, at the commit that the revision names now.

    The version is the file's id in the repository; the dataset's licence is the videos'.

    Raises:
        ConfigError: no such dataset, or no video in it.
        EnvironmentFault: the hub does not answer, or refuses the token.
    """
    repo, revision, folder = _parts(source.rstrip("/"))
    with _hub(source) as hub:
        about = hub.HfApi().dataset_info(repo, revision=revision)
        listed = hub.HfApi().list_repo_tree(
            repo, folder or None, recursive=True, revision=about.sha, repo_type="dataset"
        )
        files = [entry for entry in listed if hasattr(entry, "blob_id") and sources.has_extension(entry.path, settings)]
    if not files:
        raise ConfigError(f"{source} holds no video; source.extensions are {', '.join(settings.extensions)}")
    licence = getattr(about.card_data, "license", None) if about.card_data else None
    extra = json.dumps({"dataset": repo, "revision": about.sha, **({"licence": licence} if licence else {})})
    files.sort(key=lambda entry: entry.path)
    uris = [f"hf://datasets/{repo}@{about.sha}/{entry.path}" for entry in files]
    names = [sources.printable(entry.path) for entry in files]
    return sources.tabulate(uris, names, [(entry.size, entry.blob_id) for entry in files], [extra] * len(files))


def _parts(uri: str) -> tuple[str, str | None, str]:
    found = _PLACE.match(uri)
    if not found:
        raise ConfigError(f"{uri}: write hf://datasets/OWNER/NAME, and behind it @REVISION and /FOLDER if you like")
    return found["repo"], found["revision"], found["path"] or ""


@contextmanager
def _hub(what: str) -> Iterator[Any]:
    """The library, and what its errors mean."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise NotInstalled(f"{what} needs huggingface_hub", "pip install 'hpc_curate[web]'") from error
    try:
        with environment_faults(what):
            yield huggingface_hub
    except errors.LocalEntryNotFoundError as error:  # not there, because it could not be asked for
        answered = getattr(error.__cause__, "response", None) is not None
        fault = Passing if answered else Unreached
        raise fault(f"{what}: the hub does not answer as it should: {_said(error.__cause__ or error)}") from error
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError) as error:
        raise BadInput(f"{what}: there is no such file or revision") from error
    except errors.RepositoryNotFoundError as error:  # also of private ones, without a token
        raise ConfigError(f"{what}: no such dataset, or none for you; HF_TOKEN says who you are") from error
    except (errors.HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        kind = Unavailable if status in (401, 403) else Passing
        raise kind(f"{what}: the hub does not answer as it should: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return credentials.redacted(" ".join(str(error).split()))[:300]


class Transport(sources.Transport):
    """One file at the commit that was listed."""

    tool = "huggingface_hub"

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        self._pauses_s = [settings.pause_s * 2**number for number in range(settings.retries)]
        self._stopped = threading.Event()

    @classmethod
    def version(cls, settings: SourceSettings) -> str:
        with _hub(cls.tool) as hub:
            return str(hub.__version__)

    def stop(self) -> None:
        self._stopped.set()

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        patiently(lambda: _download(video, path), self._pauses_s, self._stopped)
        return {}


def _download(video: Video, path: Path) -> None:
    repo, revision, name = _parts(video.uri)
    folder = path.with_name(f"{path.name}-hub")
    try:
        with _hub(video.uri) as hub:
            came = hub.hf_hub_download(repo, name, revision=revision, repo_type="dataset", local_dir=folder)
        Path(came).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if video.bytes not in (-1, path.stat().st_size):
        raise Passing(f"{video.uri}: {path.stat().st_size} of {video.bytes} bytes came")
