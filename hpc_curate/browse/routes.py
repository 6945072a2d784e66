"""The addresses under which a browser gets videos and pictures, by id only, for who has the token only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_curate.browse.catalogue import Collection

COOKIE = "hpc_curate_token"
MEDIA, PLAYABLE, POSTER = "/look/media", "/look/playable", "/look/poster"  # /ID follows


def routes(collection: Collection, token: str) -> list[Any]:
    """Starlette routes for `streamlit.starlette.App(script, routes=…)`.

    MEDIA/ID and PLAYABLE/ID answer Range requests; POSTER/ID is a JPEG, or 404. Who gives no token, in the cookie
    COOKIE or as ?token=…, gets 403. Not below /media, which is Streamlit's own. In a page:
    `<video poster="/look/poster/ID"><source src="/look/media/ID#t=3.5,7.2" type="video/mp4"><source
    src="/look/playable/ID" type="video/mp4"></video>`: a browser takes the second where it cannot play the first.
    """
    raise NotImplementedError


def has_token(headers: Any, query: Any, token: str) -> bool:
    """Whether a request (Starlette's `headers` and `query_params`) brings the token; compared in constant time."""
    raise NotImplementedError
