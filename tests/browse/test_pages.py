"""The pages in a real browser."""

import http.client
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from viewer import PATIENCE_S, Page, serving, until

from hpc_curate import cli
from hpc_curate import plan as plans

pytestmark = pytest.mark.timeout(600)  # many steps, with patience for each

keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

CANARY = "<img src=x onerror=\"document.title='owned'\">.mp4"


@pytest.fixture(scope="module")
def folder(make_clip: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen videos, one with a name that is markup, one that no browser plays."""
    videos = tmp_path_factory.mktemp("videos")
    make_clip(videos / CANARY, "testsrc2=s=320x180:r=12:d=4")
    make_clip(videos / "old.avi", "testsrc2=s=320x180:r=12:d=4")
    for number in range(12):
        shutil.copy(videos / CANARY, videos / f"video {number:02d}.mp4")
    return videos


@pytest.fixture(scope="module")
def page(folder: Path, chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serving(str(folder), "--seed", "3", verdicts=tmp_path_factory.mktemp("said") / "said.parquet") as address:
        yield Page(chromium, address)


def test_pages_turn_and_a_sample_stays_as_it_was(page):
    first = until(lambda: len(page.titles()) == 12 and page.titles())
    page.press("Next")
    rest = until(lambda: len(page.titles()) == 2 and page.titles())
    page.press("Previous")
    until(lambda: page.titles() == first)
    assert len({*first, *rest}) == 14


def test_every_video_plays_and_what_no_browser_plays_is_made_to(page):
    page.go("")
    until(lambda: len(page.titles()) == 12)
    until(lambda: page.plays(12))
    page.press("Next")
    until(lambda: page.plays(2))
    played = page.browser.execute_script("return [...document.querySelectorAll('video')].map(one => one.currentSrc)")
    assert "old.avi" not in page.titles() or any("/playable/" in source for source in played)


def test_what_is_damaged_plays_as_far_as_it_can_and_what_cannot_says_why(make_clip, chromium, tmp_path):
    whole = tmp_path / "whole.mp4"
    make_clip(whole, "testsrc2=s=320x180:r=12:d=4", "-movflags", "+faststart")
    data = whole.read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "none.mp4").write_bytes(data[: data.index(b"mdat") + 100])
    table = tmp_path / "list.csv"
    table.write_text(f"uri\n{tmp_path}/half.mp4\n{tmp_path}/none.mp4\nhttp://127.0.0.1:9/never.mp4\n")
    with serving(str(table), verdicts=tmp_path / "said.parquet") as address:
        page = Page(chromium, address)
        until(lambda: "/playable/" in page.find("video[aria-label='half.mp4']")[0].get_property("currentSrc"))
        until(lambda: page.find("video[aria-label='half.mp4']")[0].get_property("currentTime") > 0.3)
        said = until(lambda: len(shown := [one.text for one in page.find(".look-sorry") if one.text]) == 2 and shown)
    never = f"never.mp4: fetch it first: hpc-curate fetch input={table} run_dir=…"
    assert {*said} == {never, "no browser plays this\ndownload"}


def test_a_filter_filters_and_a_name_that_is_markup_is_text(page):
    page.go("")
    page.type("input[aria-label='name contains']", "ONERROR", keys.ENTER)
    until(lambda: page.titles() == [CANARY])
    page.click(".look-title")
    until(lambda: page.shows("A closer look"))
    assert page.find("img[src=x]") == []
    assert "owned" not in page.browser.title


def test_a_verdict_and_a_tag_survive_a_reload(page):
    page.go("")
    until(lambda: len(page.titles()) == 12)
    title = page.titles()[0]
    page.click_unseen(".look-reject")
    until(lambda: page.find(".look-tile[data-verdict=reject] .look-title")[0].text == title)
    page.click(".look-title")
    box = "[role=dialog] [data-testid=stMultiSelect] input"
    page.type(box, "blurry")
    until(lambda: "blurry" in page.find("[role=option]")[0].text)
    page.type(box, keys.ENTER, keys.TAB)
    page.press("Save")
    until(lambda: not page.shows("A closer look"))
    page.go("")
    until(lambda: page.find(".look-tile[data-verdict=reject] .look-title")[0].text == title)
    page.click(".look-title")
    until(lambda: page.shows("blurry"))


def test_without_the_token_there_is_no_page_no_video_and_no_websocket(page):
    websocket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    websocket |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": page.address.partition("/?")[0]}
    media = f"look/media/{until(lambda: page.find('.look-tile')[0].get_attribute('data-id'))}"
    root, _, token = page.address.partition("?token=")

    def status(path: str, given: str, headers: dict[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection(root.removeprefix("http://").rstrip("/"), timeout=PATIENCE_S)
        connection.request("GET", f"/{path}?token={given}", headers=headers or {})
        found = connection.getresponse().status
        connection.close()
        return found

    assert [status(path, "wrong") for path in ("", media, "_stcore/health", "static/index.html")] == [403] * 4
    assert status("_stcore/stream", "wrong", websocket) == 403
    assert [status("", token), status(media, token), status("_stcore/stream", token, websocket)] == [200, 200, 101]
    # Another site's page, and another site's name that was made to point here.
    assert status("_stcore/stream", token, {**websocket, "Origin": "http://elsewhere.example"}) == 403
    assert status("", token, {"Host": "elsewhere.example"}) == 403


def test_clips_of_a_run_can_be_compared_moved_across_thresholds_and_audited_blind(judged_run, chromium, tmp_path):
    with serving(str(judged_run), verdicts=tmp_path / "unused.parquet") as address:
        page = Page(chromium, address)
        until(lambda: len(page.titles()) == 4)
        until(lambda: page.shows(f"plan {plans.load_latest(judged_run).hash}") and page.shows("know no words"))
        assert not page.find("input[aria-label='Search by words']")
        page.click_unseen(".look-title")
        page.press("Clips that look like this")
        until(lambda: page.shows("Clips that look like") and len(page.titles()) == 3 and page.shows("similarity"))
        page.go("duplicates")
        assert {*until(lambda: len(page.titles()) == 2 and page.titles())} == {"fractal.mp4", "fractal again.mp4"}
        page.go("thresholds")
        until(lambda: page.shows("Kept with these thresholds"))
        page.type("[data-testid=stSlider] input", keys.HOME)
        until(lambda: page.shows("Would come back") and page.titles() == ["bars.mp4"])
        page.go("audit")
        until(lambda: page.titles() == ["Watch it, then say"])
        assert not any(page.shows(told) for told in ("fractal", "motion", ".mp4"))
        page.press("Has a defect")
        until(lambda: page.shows("100.0%"))
        [said] = pq.read_table(next((judged_run / "verdicts").glob("*.parquet"))).to_pylist()
    assert (said["verdict"], said["audit"]) == ("reject", True)


def test_words_show_the_clips_that_search_finds_for_them(judged_run, chromium, tmp_path, capfd):
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    torch.save(
        open_clip.create_model("ViT-S-32-alt").half().state_dict(), tmp_path / "random.pt"
    )  # as is what is found
    embed = {"model": "open_clip", "architecture": "ViT-S-32-alt", "dimensions": 256}
    words = [
        f"stage.embed.{name}={value}" for name, value in (*embed.items(), ("weights_path", tmp_path / "random.pt"))
    ]
    words += [f"input={judged_run.parent / 'videos'}", f"run_dir={tmp_path / 'run'}", "launch=inline"]
    assert cli.main(["run", *words, "stage=[scan,shots,embed]"]) == 0
    capfd.readouterr()
    assert cli.main(["search", str(tmp_path / "run"), "a slow fractal", "--json"]) == 0
    said = capfd.readouterr().out
    found = [Path(row["uri"]).name for row in json.loads(said[said.index("[\n") :])]
    with serving(str(tmp_path / "run"), verdicts=tmp_path / "unused.parquet") as address:
        page = Page(chromium, address)
        page.type("input[aria-label='Search by words']", "a slow fractal", keys.ENTER)
        until(lambda: page.shows("similarity") and page.titles() == found)
    assert len(found) == 4
