"""What the demo's page offers, and where: on this machine, elsewhere, on a phone."""

import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ViewportSize, expect
from tests.support.browser import needs_browser

from dynamirror.demo.demo import Demo
from dynamirror.page.show import demo_page


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """Run a demo."""
    with Demo(ids=5, rate=50, seed=1) as demo:
        for _ in demo.write(1):
            pass
        yield demo


def read(url: str, host: str = "") -> str:
    """Return the page, asked for by a host name."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310 - our own http URL
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - same
        return str(answer.read().decode())


def test_a_page_that_others_may_reach_has_no_buttons(demo: Demo) -> None:
    with demo_page(demo) as (page, _injector):
        assert page.url.startswith("http://127.0.0.1:")
        assert "press-flush" in read(page.url)
    with demo_page(demo, host="127.0.0.2") as (page, _injector):
        assert page.url.startswith("http://127.0.0.2:")
        text = read(page.url, "mirror.example:8080")
    assert "data-testid" in text
    assert "press-" not in text
    assert "Break it" not in text


def test_each_figure_has_a_definition_and_the_lag_names_its_time(demo: Demo) -> None:
    with demo_page(demo) as (page, _injector):
        text = read(page.url)
    for definition in (
        "Half of all measured writes were visible in the cache within this time.",
        "Random changes that DynamoDB acknowledged, without those that only measure the lag.",
        "Entries that the cache did not take. Red while it goes on; none is lost.",
    ):
        assert definition in text
    assert "lag since the start, median" in text


@needs_browser
def test_on_a_phone_the_rows_come_before_the_buttons_and_the_banner_stays(
    demo: Demo, browser: Browser
) -> None:
    size = ViewportSize(width=390, height=844)
    with demo_page(demo) as (page, _injector), browser.new_page(viewport=size) as tab:
        tab.goto(page.url)
        rows, buttons = tab.locator(".rows"), tab.locator(".break")
        expect(rows.locator(".row.same").first).to_be_visible()
        tops = [box["y"] for box in (rows.bounding_box(), buttons.bounding_box()) if box]
        assert tops[0] < tops[1]
        tab.evaluate("window.scrollTo(0, 1000)")
        banner = tab.locator(".headline").bounding_box()
        assert banner is not None
        assert banner["y"] == 0
