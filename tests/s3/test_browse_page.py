"""Videos of an object store on a real page: played from there, by ranged requests."""

import pytest
from viewer import Page, chromium, serving, until

pytestmark = pytest.mark.timeout(600)  # a store, a viewer and a browser start, with patience for each


def test_videos_of_a_store_play_and_a_filter_filters(s3, make_video, tmp_path):
    prefix = s3.folder()
    for name, codec in (("one.mp4", "libx264"), ("two [x].mkv", "libx264"), ("old.avi", "mpeg4")):
        video = make_video(name, "testsrc2=s=320x180:r=12:d=4", "-c:v", codec, "-pix_fmt", "yuv420p", "-threads", "1")
        s3.put(f"{prefix}/{name}", video.read_bytes(), tmp_path)
    where = ["--endpoint", s3.settings.endpoint, "--profile", s3.settings.profile]
    with (
        chromium(tmp_path / "profile") as browser,
        serving(prefix, *where, verdicts=tmp_path / "said.parquet") as address,
    ):
        page = Page(browser, address)
        until(lambda: {*page.titles()} == {"one.mp4", "two [x].mkv", "old.avi"})
        until(lambda: page.plays(3))
        sources = browser.execute_script("return [...document.querySelectorAll('video')].map(one => one.currentSrc)")
        assert all(source.startswith(address.partition("?")[0]) for source in sources)
        page.type("input[aria-label='name contains']", "two [", "\n")
        until(lambda: page.titles() == ["two [x].mkv"])
