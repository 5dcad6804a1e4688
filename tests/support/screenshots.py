"""Take the documentation's pictures of the page: `make screenshots`."""

import sys
import threading
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import ViewportSize, expect
from tests.support.browser import MISSING, find_browser, opened_browser

from dynamirror.demo.demo import Demo
from dynamirror.page.show import demo_page

FOLDER = Path(__file__).parents[2] / "docs/images"
# High enough for the entries, which stand below charts and measurement.
DESKTOP = ViewportSize(width=1280, height=1280)
PHONE = ViewportSize(width=390, height=844)
WRITE_SECONDS = 20.0
# With the probe and the fragile item, as many entries as the page shows.
IDS = 28
GARBAGE = b'{"name":"somebody else"}'


def main() -> None:
    """Take every picture."""
    if find_browser() is None:
        sys.exit(MISSING)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        Demo(ids=IDS, rate=60, seed=7) as demo,
        demo_page(demo) as (page, injector),
        opened_browser() as browser,
    ):
        stop = threading.Event()
        writes = threading.Thread(target=lambda: list(demo.write(600, stop=stop)))
        writes.start()
        try:
            tab = browser.new_page(viewport=DESKTOP, color_scheme="light")
            tab.goto(page.url)
            tab.wait_for_timeout(WRITE_SECONDS * 1000)
            for name in ("twice", "replicator", "replicator"):
                _press(tab, name)
                tab.wait_for_timeout(2000)
            tab.wait_for_timeout(8000)
            _take(tab, "light", "In sync")
            tab.emulate_media(color_scheme="dark")
            _take(tab, "dark", "In sync")
            phone = browser.new_page(viewport=PHONE, color_scheme="light", device_scale_factor=2)
            phone.goto(page.url)
            _take(phone, "phone", "In sync")
        finally:
            stop.set()
            writes.join()
        for _ in demo.drain():
            pass
        tab.emulate_media(color_scheme="light")
        _press(tab, "damage")
        _break(demo)
        expect(tab.locator(".row.wrong")).to_have_count(5)
        _take(tab, "broken", "Not in sync")
        injector.finish()


def _break(demo: Demo) -> None:
    """Make one entry missing, one different, and two orphaned."""
    items = demo.client.scan(TableName=demo.schema.table)["Items"]
    held = {int(item["id"]["S"]) for item in items if item["id"]["S"].isdecimal()}
    present, deleted = sorted(held), sorted(set(range(1, IDS + 1)) - held)
    for number in (present[0], deleted[0], deleted[1]):
        key = f"{demo.schema.table}:{number}"
        demo.cache.call(key, b"SET", key.encode(), GARBAGE)
    key = f"{demo.schema.table}:{present[2]}"
    demo.cache.call(key, b"DEL", key.encode())


def _press(tab: Tab, name: str) -> None:
    button = tab.get_by_test_id(f"press-{name}")
    expect(button).to_have_attribute("aria-disabled", "false")
    button.click()
    tab.mouse.move(0, 0)


def _take(tab: Tab, name: str, word: str) -> None:
    expect(tab.get_by_test_id("condition")).to_have_text(word)
    tab.wait_for_timeout(1000)  # ECharts draws later
    tab.screenshot(path=FOLDER / f"page-{name}.png")


if __name__ == "__main__":
    main()
