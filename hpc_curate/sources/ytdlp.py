"""What yt-dlp can play: ytdlp+https://…, a video, a list or a channel."""

from __future__ import annotations

import json
import re
import tempfile
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpc_curate import sources
from hpc_curate.errors import BadInput, ConfigError, Unavailable
from hpc_curate.io import child
from hpc_curate.io.patience import UNREACHED, Unreached
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.tool import Tool, ToolFailed
from hpc_curate.io.turns import Turns
from hpc_curate.records import Video

SCHEMES = ("ytdlp+https", "ytdlp+http")
# Nobody's configuration, plugins, cookies or postprocessors; one video is one file.
_SAFE = ["--ignore-config", "--no-plugin-dirs", "--no-cookies-from-browser", "--no-exec", "--no-warnings", "--quiet"]
_SAFE += ["--no-cache-dir"]
_LISTING_S = 1800.0
# What is kept of what the site says; of a licence many sites say nothing, and then it is not known.
_KEPT = ("id", "title", "uploader", "channel", "upload_date", "duration", "extractor", "format_id", "webpage_url")
# What is said of a video, and not of a server or of us: no later try changes it.
_OF_THE_VIDEO = re.compile(
    r"(?<!service )unavailable|private video|removed|not available|unsupported url|http error 4(04|10)|sign in(?!.*bot)"
)


def accepts(source: str, settings: SourceSettings) -> bool:
    return source.partition("://")[0] in SCHEMES and "://" in source


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The video, or those of the list, in its order.

    Raises:
        ConfigError: yt-dlp finds none there.
    """
    uri = sources.resolve(source, "")
    try:
        told = _tool().run([*_SAFE, "--flat-playlist", "--dump-json", "--", _url(uri)], _LISTING_S)
    except ToolFailed as error:
        raise ConfigError(f"{source}: yt-dlp finds no video there: {error.said}") from error
    found = [json.loads(line) for line in told.splitlines()]
    # Of a single video it tells the page, of those in a list how to ask for each.
    uris = [uri] if len(found) == 1 and found[0].get("_type", "video") == "video" else [_of_list(one) for one in found]
    titles = [str(one.get("title") or one.get("id") or "video").replace("/", "_") for one in found]
    names = [sources.printable(f"{title}.mkv") for title in titles]
    return sources.tabulate(uris, names, [sources.UNKNOWN] * len(uris))


def _of_list(entry: dict[str, Any]) -> str:
    return sources.resolve(f"ytdlp+{entry.get('webpage_url') or entry['url']}", "")


def _url(uri: str) -> str:
    return uri.removeprefix("ytdlp+")


def _tool() -> Tool:
    return Tool("yt-dlp", "pip install 'hpc_curate[web]'")


class Transport(sources.Transport):
    """One video as one mkv, and what the site says of it. Which addresses yt-dlp asks is not checked by us."""

    tool = "yt-dlp"
    tells_licence = True

    def __init__(self, settings: SourceSettings, turns: Turns) -> None:
        self._tool, self._settings, self._turns = _tool(), settings, turns
        self._stopped = threading.Event()

    @classmethod
    def version(cls, settings: SourceSettings) -> str:
        return _tool().version("--version")

    def fetch(self, video: Video, path: Path, size: int) -> dict[str, Any]:
        web = self._settings.web
        self._turns.take(urllib.parse.urlsplit(_url(video.uri)).hostname or "", self._stopped)
        options = ["--no-playlist", "--format", web.format, "--dump-json", "--no-simulate", "--no-part", "--no-mtime"]
        options += ["--max-filesize", str(int(web.largest_gb * 1e9)), "--retries", str(web.tries)]
        options += ["--socket-timeout", f"{web.silence_s:g}", "--sleep-requests", f"{web.pause_per_host_s:g}"]
        options += ["--ffmpeg-location", child.ffmpeg(), "--merge-output-format", "mkv", "--remux-video", "mkv"]
        if web.longest_s is not None:
            options += ["--match-filters", f"duration<=?{web.longest_s:g}"]
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            # The name is ours: what a site calls a video is data.
            output = ["--output", f"{folder.replace('%', '%%')}/video.%(ext)s"]
            try:
                told = self._tool.run([*_SAFE, *options, *output, "--", _url(video.uri)], web.longest_download_s)
            except ToolFailed as error:
                if _OF_THE_VIDEO.search(error.said.lower()):
                    raise BadInput(f"{video.uri}: {error.said}") from error
                kind = Unreached if re.search(UNREACHED, error.said) else Unavailable
                raise kind(f"{video.uri}: yt-dlp ended with code {error.code}: {error.said}") from error
            came = sorted(Path(folder).iterdir())
            if not came:
                raise BadInput(f"{video.uri}: longer than source.web.longest_s, or larger than source.web.largest_gb")
            came[0].replace(path)
        about = json.loads(told.splitlines()[-1])
        licence = {"licence": str(about["license"])} if about.get("license") else {}
        return {**{name: about[name] for name in _KEPT if about.get(name) is not None}, **licence}

    def stop(self) -> None:
        self._stopped.set()
        self._tool.stop()
