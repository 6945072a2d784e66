"""Members of WebDataset tars: wds://PATH of a tar, of a folder of tars, or of a text list of tars.

Each member with a video's extension is one video, `wds://PATH_OF_TAR#MEMBER`; what the sample's json says travels with
it, and its txt as `caption`. No member is ever extracted under its own name. What a tar has wrong (it is cut off, it is
none, a name comes twice or leads out of it) is an entry as well, so that it is recorded and costs nothing else.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import tarfile
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from hpc_curate import __version__, credentials, sources
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.turns import Turns
from hpc_curate.records import Video, on_disk

SCHEMES = ("wds",)
_LISTS = (".txt", ".lst", ".list")
_AT_ONCE = 8  # tars that are listed
_MOST_TEXT = 1 << 20  # bytes of a json or txt that travels with a video
_BLOCK = 1 << 20
_TWICE = "&"  # behind the name of a member that the tar has had before; quoted where it is part of a name


@dataclass(frozen=True)
class _Member:
    """A file in a tar."""

    name: str
    offset: int  # of its first header
    data: int  # of its first byte
    bytes: int
    plain: bool  # neither a link nor a device nor sparse


@dataclass(frozen=True)
class _Content:
    """What a tar holds, as far as it can be read."""

    members: tuple[_Member, ...]
    broken: str  # why it cannot be read further; empty: it is whole


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.startswith("wds://")


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """All videos of the tars, in the order of the tars and of their members; the headers of all members are read.

    The version is the tar's time of change and the member's place in it.

    Raises:
        ConfigError: there are no tars, no video in them, or they are not on a file system.
        EnvironmentFault: the disk does not answer.
    """
    path = sources.absolute(on_disk(source) or "")
    tars = _tars(path, source)
    root = path if path.is_dir() else path.parent
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pa.concat_tables(pool.map(functools.partial(_entries, root=root, settings=settings), tars))
    if "#" in source:
        member = source.partition("#")[2]
        found = found.filter(pa.array([uri.partition("#")[2] == member for uri in found["uri"].to_pylist()]))
    if not found.num_rows:
        raise ConfigError(f"{source} holds no video; source.extensions are {', '.join(settings.extensions)}")
    return found


def _tars(path: Path, source: str) -> list[Path]:
    if path.is_dir():
        found = sorted(path.rglob("*.tar"))
        if not found:
            raise ConfigError(f"input={source} holds no .tar")
        return found
    if path.suffix.lower() not in _LISTS:
        return [path]
    lines = [os.fsdecode(line.strip()) for line in path.read_bytes().split(b"\n") if line.strip()]
    if far := [line for line in lines if on_disk(line) is None]:
        raise ConfigError(f"input={source}: {far[0]} is on no file system; bring the tars here first (s5cmd cp)")
    return [Path(os.path.normpath(path.parent / str(on_disk(line)))) for line in lines]


def _entries(tar: Path, root: Path, settings: SourceSettings) -> pa.Table:
    uris, names, sizes, extras = [], [], [], []
    shown = str(tar.relative_to(root)) if tar.is_relative_to(root) else tar.name
    mtime, content = _changed_at(tar), _scan(tar)
    seen: dict[str, int] = {}
    for said, videos in _samples(tar, content, settings):
        for member in videos:
            seen[member.name] = times = seen.get(member.name, 0) + 1
            uris.append(_uri(tar, member.name) + (f"{_TWICE}{times}" if times > 1 else ""))
            inside = [part for part in member.name.split("/") if part not in ("", ".", "..")]
            names.append(sources.printable("/".join([shown, *inside])))
            sizes.append((member.bytes, f"{mtime}+{member.offset}") if member.plain else sources.UNKNOWN)
            extras.append(json.dumps(said))
    if content.broken:
        uris, names = [*uris, _uri(tar)], [*names, sources.printable(shown)]
        sizes, extras = [*sizes, sources.UNKNOWN], [*extras, "{}"]
    return sources.tabulate(uris, names, sizes, extras)


def _samples(tar: Path, content: _Content, settings: SourceSettings) -> Iterator[tuple[dict[str, Any], list[_Member]]]:
    """What is said of each sample that has videos, and these."""
    if not content.members:  # it may be no file at all
        return
    with environment_faults(str(tar)), tar.open("rb") as file:
        for _, group in itertools.groupby(content.members, lambda member: _key(member.name)):
            sample = list(group)
            videos = [member for member in sample if sources.has_extension(member.name, settings)]
            if videos:
                yield _said(file, sample), videos


def _key(name: str) -> str:
    """What the members of one sample share: their name up to the first dot behind the last slash."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _uri(tar: Path, member: str | None = None) -> str:
    place = f"wds://{urllib.parse.quote(os.fsencode(tar))}"
    return place if member is None else f"{place}#{urllib.parse.quote(os.fsencode(member), safe='')}"


def _said(file: IO[bytes], sample: Sequence[_Member]) -> dict[str, Any]:
    """The json of a sample, and its txt; what is wrong with the former is said in `json_error`."""
    texts = {suffix: member for member in sample if (suffix := member.name.rpartition(".")[2]) in ("json", "txt")}
    said: dict[str, Any] = {}
    for suffix, member in texts.items():
        try:
            text = _text(file, member)
            found = json.loads(text) if suffix == "json" else {"caption": text.strip()}
            if not isinstance(found, dict):
                raise ValueError("it is no object")
            said = {**found, **said} if suffix == "txt" else {**said, **found}
        except (ValueError, RecursionError) as error:
            said[f"{suffix}_error"] = f"{type(error).__name__}: {error}"
    if "sha256" in said:  # of whatever the sample was made from; a column of that name is what must come
        said["json_sha256"] = said.pop("sha256")
    clean: dict[str, Any] = json.loads(credentials.redacted(json.dumps(said)))
    return clean


def _text(file: IO[bytes], member: _Member) -> str:
    if member.bytes > _MOST_TEXT or not member.plain:
        raise ValueError(f"{member.bytes} bytes are too many, or it is no plain file")
    file.seek(member.data)
    return file.read(member.bytes).decode()


# -- reading tars --------------------------------------------------------------------------------------------------


def _scan(tar: Path) -> _Content:
    """All files of a tar, by its headers; what lies between them is not read."""
    members: list[_Member] = []
    try:
        with environment_faults(str(tar)), tar.open("rb") as file:
            archive = _opened(file)
            while info := archive.next():
                if not info.isdir():
                    members.append(_member(info))
            file.seek(archive.offset)
            # tarfile takes whatever is no header for the end.
            broken = "" if file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE) else "there is no end mark"
    except (OSError, tarfile.TarError, ValueError) as error:
        broken = getattr(error, "strerror", None) or str(error)
    return _Content(tuple(members), broken)


def _opened(file: IO[bytes]) -> tarfile.TarFile:
    """A tar from where the file stands; `r:` admits no compression, in which no member could be found alone."""
    return tarfile.open(fileobj=file, mode="r:", errors="surrogateescape")


def _member(info: tarfile.TarInfo) -> _Member:
    return _Member(info.name, info.offset, info.offset_data, info.size, info.isreg() and not info.issparse())


def _changed_at(tar: Path) -> int:
    """Nanoseconds; 0: there is no such file."""
    try:
        return tar.stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _content(tar: Path, _mtime_ns: int) -> _Content:
    return _scan(tar)


def _named(tar: Path, name: str, mtime_ns: int) -> _Member:
    """A member by its name, for lists that say no more.

    Raises:
        BadInput: the tar has none.
    """
    content = _content(tar, mtime_ns)
    found = next((member for member in content.members if member.name == name), None)
    if found is None:
        why = f" as far as it can be read: {content.broken}" if content.broken else ""
        raise BadInput(f"{tar.name} has no member {name!r}{why}")
    return found


def _at(tar: Path, offset: int) -> _Member:
    """The member whose header is at an offset."""
    with environment_faults(str(tar)), tar.open("rb") as file:
        file.seek(offset)
        info = _opened(file).next()
    if info is None:
        raise tarfile.ReadError("there is no member any more")
    return _member(info)


def place(video: Video) -> tuple[Path, int, int]:
    """The tar that a video lies in, and the offset and the number of its bytes there.

    Raises:
        BadInput: the tar holds none of this name, or it is nothing that may be read.
    """
    tar, name = _parts(video.uri)
    member = _found(tar, name, video)
    return tar, member.data, member.bytes


def _found(tar: Path, name: str, video: Video) -> _Member:
    """Raises: BadInput: there is none, or it is nothing that may be copied."""
    _, _, offset = video.version.partition("+")
    try:
        member = _at(tar, int(offset)) if offset else _named(tar, name, _changed_at(tar))
    except (OSError, tarfile.TarError, ValueError) as error:
        raise BadInput(f"{tar.name}: {getattr(error, 'strerror', None) or error}") from error
    if member.name != name or not member.plain:
        raise BadInput(f"{tar.name}: {name!r} is not there, or no plain file")
    return member


class Transport(sources.Transport):
    """Copies a member out of its tar: under our own name, from the place where it was listed."""

    tool = f"hpc_curate {__version__}"
    direct = True

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        pass

    def facts(self, video: Video) -> tuple[int, str]:
        tar, name = _parts(video.uri)
        now, (then, _, offset) = _changed_at(tar), video.version.partition("+")
        if then and int(then) != now:
            return -1, f"{now}+{offset}"
        member = _found(tar, name, video)
        return member.bytes, f"{now}+{member.offset}"

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        tar, name = _parts(video.uri)
        member = _found(tar, name, video)
        left = member.bytes
        with environment_faults(str(path)), tar.open("rb") as file, path.open("wb") as out:
            file.seek(member.data)
            while block := file.read(min(left, _BLOCK)):
                out.write(block)
                left -= len(block)
        if left:
            raise BadInput(
                f"{tar.name} is cut off: {member.bytes - left} of {member.bytes} bytes of {name!r} are there"
            )
        return {}


def _parts(uri: str) -> tuple[Path, str]:
    """The tar and the name of the member.

    Raises:
        BadInput: it is a tar that cannot be read to its end, or the name is none that anybody may use.
    """
    tar, fragment = Path(on_disk(uri) or ""), uri.partition("#")[2]
    if not tar.is_absolute():
        raise BadInput(f"{uri}: write wds:///PATH/OF.tar#MEMBER")
    if not fragment:
        content = _scan(tar)
        raise BadInput(f"{tar.name} cannot be read to its end, behind member {len(content.members)}: {content.broken}")
    quoted, twice, _ = fragment.partition(_TWICE)
    name = os.fsdecode(urllib.parse.unquote_to_bytes(quoted))
    if twice:
        raise BadInput(f"{tar.name}: {name!r} comes more than once; the first one was taken")
    if name.startswith("/") or ".." in name.split("/"):
        raise BadInput(f"{tar.name}: {name!r} leads out of the tar")
    return tar, name
