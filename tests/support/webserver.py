"""A web server on loopback over the files of a folder."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Says 503 for a file beside which there is another with `.busy` behind its name."""

    def log_message(self, *arguments: object) -> None:
        pass

    def __init__(self, *arguments: Any, asked: list[str], **more: Any) -> None:
        self._asked = asked
        super().__init__(*arguments, **more)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        if Path(self.translate_path(self.path) + ".busy").exists():
            self.send_error(503)
        else:
            super().do_GET()


@contextmanager
def serving(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """Its address, without a slash at the end; `asked` gets the path of every request."""
    handler = functools.partial(_Quiet, directory=str(folder), asked=[] if asked is None else asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
