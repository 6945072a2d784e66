import http.client
import socket
import threading

import pytest
from waiting import eventually

from hpc_curate.browse.catalogue import open_collection
from hpc_curate.browse.routes import MEDIA, PLAYABLE, POSTER, cookie, routes

TOKEN = "t0ken-of-this-test"


@pytest.fixture
def ask(make_video, tmp_path):
    """Asks a real server of the routes alone; `ask.id` is of a video, `ask.bytes` are its bytes."""
    uvicorn, applications = pytest.importorskip("uvicorn"), pytest.importorskip("starlette.applications")
    video = make_video("videos/a.mp4")
    collection = open_collection(str(video.parent))
    eventually(lambda: collection.progress().done)
    app = applications.Starlette(routes=routes(collection, TOKEN))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()

        def ask(path, method="GET", **headers):
            connection = http.client.HTTPConnection(*listening.getsockname(), timeout=150)
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer, body

        ask.id, ask.bytes = collection.catalogue().rows["id"][0].as_py(), video.read_bytes()
        yield ask
        server.should_exit = True
        thread.join(30)
    collection.close()


def test_who_has_the_token_gets_a_video_and_parts_of_it(ask):
    answer, body = ask(f"{MEDIA}/{ask.id}", Cookie=f"other=1; {cookie(TOKEN)}={TOKEN}")
    assert (answer.status, body) == (200, ask.bytes)
    answer, body = ask(f"{MEDIA}/{ask.id}?token={TOKEN}", Range="bytes=10-19")
    assert (answer.status, body) == (206, ask.bytes[10:20])
    answer, body = ask(f"{MEDIA}/{ask.id}?token={TOKEN}", "HEAD")
    assert (answer.status, answer.headers["content-length"], body) == (200, str(len(ask.bytes)), b"")
    assert ask(f"{MEDIA}/{ask.id}?token={TOKEN}", Range="bytes=99999999-")[0].status == 416


@pytest.mark.parametrize("path", [MEDIA, PLAYABLE, POSTER])
def test_without_the_token_there_is_nothing(ask, path):
    name = cookie(TOKEN)
    for query, given in (("", ""), ("?token=", f"{name}="), ("?token=wrong", f"{name}=\N{SNOWMAN}".encode())):
        answer, body = ask(f"{path}/{ask.id}{query}", Cookie=given)
        assert (answer.status, len(body) < 100) == (403, True)


def test_nothing_runs_of_what_is_sent_and_nobody_keeps_it(ask):
    for path in (f"{MEDIA}/{ask.id}", f"{POSTER}/{ask.id}", f"{MEDIA}/nothing"):
        answer, _ = ask(f"{path}?token={TOKEN}")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["content-type"].partition(";")[0] in ("video/mp4", "image/jpeg", "text/plain")


@pytest.mark.parametrize(
    "id", ["a.mp4", "..%2Fa.mp4", "%2Fetc%2Fpasswd", "../../etc/passwd", "%00", "x" * 500, "nothing"]
)
def test_no_path_leads_anywhere(ask, id):
    answer, body = ask(f"{MEDIA}/{id}?token={TOKEN}")
    assert answer.status == 404 and len(body) < 100


def test_a_poster_is_a_picture_and_what_is_made_for_browsers_is_streamed(ask):
    answer, body = ask(f"{POSTER}/{ask.id}?token={TOKEN}")
    assert (answer.status, answer.headers["content-type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    answer, body = ask(f"{PLAYABLE}/{ask.id}?token={TOKEN}", Range="bytes=4-7")
    assert (answer.status, answer.headers["content-type"], body) == (206, "video/mp4", b"ftyp")
