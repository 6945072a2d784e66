"""The addresses under which a browser gets videos and pictures: by id only, and only for who has the token."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpc_curate.browse.media import HEADERS, Media, Streams
from hpc_curate.errors import BadInput, CurateError
from hpc_curate.records import ID_PATTERN

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from hpc_curate.browse.catalogue import Collection

log = logging.getLogger(__name__)

MEDIA, PLAYABLE, POSTER = "/look/media", "/look/playable", "/look/poster"  # /ID follows


def routes(collection: Collection, token: str) -> list[Any]:
    """Starlette routes for `streamlit.starlette.App(script, routes=…)`.

    MEDIA/ID and PLAYABLE/ID answer Range requests; POSTER/ID is a JPEG, or 404. Who gives no token, in the cookie
    `cookie(token)` or as ?token=…, gets 403. Not below /media, which is Streamlit's own. In a page:
    `<video poster="/look/poster/ID"><source src="/look/media/ID#t=3.5,7.2" type="video/mp4"><source
    src="/look/playable/ID" type="video/mp4"></video>`: a browser takes the second where it cannot play the first.
    """
    from starlette.routing import Route

    def streamed(find: Callable[[str], Media]) -> Callable[[Request, str], Response]:
        return lambda request, id: _stream(collection.streams, find(id), request)

    answers = {MEDIA: streamed(collection.media), PLAYABLE: streamed(collection.playable)}
    answers[POSTER] = lambda request, id: _picture(collection.poster(id))
    return [Route(f"{path}/{{id}}", _guarded(answer, token), methods=["GET"]) for path, answer in answers.items()]


def cookie(token: str) -> str:
    """The name of the cookie that holds it. A browser keeps one jar for all ports of a host: with one name for all,
    a second viewer would shut the first one."""
    return f"hpc_curate_{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def has_token(headers: Any, query: Any, token: str) -> bool:
    """Whether a request (Starlette's `headers` and `query_params`) brings the token; compared in constant time."""
    from starlette.requests import cookie_parser

    given = (cookie_parser(headers.get("cookie", "")).get(cookie(token), ""), query.get("token", ""))
    found = [hmac.compare_digest(one.encode("utf-8", "replace"), token.encode()) for one in given]
    return any(found) and bool(token)


def _guarded(answer: Callable[[Request, str], Response], token: str) -> Callable[[Request], Response]:
    """An endpoint; Starlette runs it in a thread of its own, because it is no coroutine."""

    def endpoint(request: Request) -> Response:
        if not has_token(request.headers, request.query_params, token):
            return _said(403, "no token; open the address that was printed")
        id = request.path_params["id"]
        if not ID_PATTERN.match(id):
            return _said(404, "there is nothing of this id")
        try:
            return answer(request, id)
        except KeyError:
            return _said(404, "there is nothing of this id")
        except BadInput as error:
            return _said(404, str(error))
        except CurateError as error:
            log.warning("%s", error)
            return _said(502, str(error))

    return endpoint


def _stream(streams: Streams, media: Media, request: Request) -> Response:
    from starlette.responses import StreamingResponse

    found = streams.answer(media, request.headers.get("range"), request.method == "HEAD")
    return StreamingResponse(found.body, found.status, found.headers)


def _picture(jpeg: bytes | None) -> Response:
    from starlette.responses import Response

    if jpeg is None:
        return _said(404, "there is no picture of it")
    return Response(jpeg, headers={**HEADERS, "content-type": "image/jpeg"})


def _said(status: int, text: str) -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(text + "\n", status, HEADERS)
