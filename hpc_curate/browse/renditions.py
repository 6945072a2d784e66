"""What browsers cannot play by themselves, as something that they can: small H.264 and JPEGs, made when asked for."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from hpc_curate.browse.media import Media, Streams
from hpc_curate.errors import BadInput
from hpc_curate.io import child, encode
from hpc_curate.preview import tiles
from hpc_curate.preview.mosaic import Layout
from hpc_curate.report.thumbnails import jpeg

T = TypeVar("T")

POSTER_PX = 480
_LINES = 480
_LONGEST_S = 20.0  # of a video, where nobody said which seconds
_MOST_COPIED = 2 << 30  # bytes that are brought here for a look
_AT_ONCE = 2  # made; each decodes on a core or two
_POSTERS, _FILES = 1000, 100  # kept


class Renditions:
    """Makes each thing once, a few at a time, in a private folder; safe to use from several threads."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._folder = tempfile.TemporaryDirectory(prefix="hpc_curate-look-")
        self._pool = ThreadPoolExecutor(_AT_ONCE, "look")
        self._files: _Kept[Media] = _Kept(_FILES, lambda made: Path(made.uri).unlink(missing_ok=True))
        self._posters: _Kept[bytes | None] = _Kept(_POSTERS, lambda made: None)

    def playable(self, id: str, media: Media) -> Media:
        """Its seconds, or its first ones, as small H.264 without sound.

        Raises:
            BadInput: it cannot be decoded, or is too large to be brought here.
            EnvironmentFault: the store does not answer.
        """
        return self._files.get(id, lambda: self._pool.submit(self._encoded, id, media))

    def poster(self, id: str, media: Media) -> bytes | None:
        """The first picture of a file that lies here; None where there is none, or it would have to be brought here."""
        if not _is_here(media):
            return None
        return self.picture(id, lambda: self._pictured(media))

    def picture(self, id: str, make: Callable[[], bytes | None]) -> bytes | None:
        """What `make` makes, kept."""
        return self._posters.get(id, lambda: self._pool.submit(make))

    def close(self) -> None:
        """End it, and remove what was made."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()

    def _pictured(self, media: Media) -> bytes | None:
        try:
            with self._local(media) as path:
                picture = next(iter(tiles.decoded(path, Layout(1, 1, 1, 1, POSTER_PX))))
        except BadInput:
            return None
        return jpeg(picture, POSTER_PX)

    def _encoded(self, id: str, media: Media) -> Media:
        # From its id, which is letters and digits; the name of the video never reaches a path.
        out = Path(self._folder.name) / f"{id}.mp4"
        with self._local(media) as path:
            start, end = media.start_s or 0.0, media.end_s
            seconds = min(_LONGEST_S, end - start) if end is not None else _LONGEST_S
            # First square pixels, then the size.
            picture = f"scale='max(2,iw*sar)':ih,setsar=1,scale=-2:'trunc(min({_LINES},ih)/2)*2',format=yuv420p"
            picture += ",setpts=PTS-STARTPTS"
            # What is damaged is shown as far as it can be: that is what one looks for.
            command = [child.ffmpeg(), *child.DEMUX, "-max_error_rate", "1"]
            command += ["-ss", f"{start:.6f}", "-t", f"{seconds:.6f}"]
            command += ["-i", child.source(path), "-map", "0:V:0", "-vf", picture, "-an"]
            command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-threads", "2", *encode.muxed(out)]
            finished = child.run(command, child.Limits(memory_gb=6, cpu_s=60 + 20 * seconds, wall_s=300, file_gb=0.5))
        if not finished.ok or not out.exists():
            out.unlink(missing_ok=True)
            raise BadInput(f"{media.name}: {child.explain(finished)}")
        return Media(str(out), out.name, "video/mp4")

    @contextlib.contextmanager
    def _local(self, media: Media) -> Iterator[Path]:
        """A file of it alone: itself, or a copy for the time being."""
        if _is_here(media) and media.offset == 0 and media.bytes is None:
            yield self._streams.path(media)
            return
        size = self._streams.size(media)
        if size > _MOST_COPIED:
            raise BadInput(f"{media.name}: {size / 1e9:.1f} GB are too much to be brought here for a look")
        with tempfile.NamedTemporaryFile(dir=self._folder.name, suffix=".source") as copy:
            for block in self._streams.blocks(media, 0, size):
                copy.write(block)
            copy.flush()
            yield Path(copy.name)


def _is_here(media: Media) -> bool:
    return not media.uri.startswith("s3://")


@dataclass
class _Kept(Generic[T]):
    """What was made last, by id. What is being made is waited for, and what failed is tried again."""

    most: int
    drop: Callable[[T], None]
    _made: OrderedDict[str, Future[T]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, id: str, make: Callable[[], Future[T]]) -> T:
        with self._lock:
            future = self._made.get(id) or make()
            self._made[id] = future
            self._made.move_to_end(id)
            old = next(iter(self._made)) if len(self._made) > self.most else None
            oldest = self._made.pop(old) if old is not None and self._made[old].done() else None
        if oldest is not None and not oldest.cancelled() and not oldest.exception():
            self.drop(oldest.result())
        try:
            return future.result()
        except BaseException:
            with self._lock:
                if self._made.get(id) is future:
                    del self._made[id]
            raise
