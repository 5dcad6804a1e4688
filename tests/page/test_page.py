"""The demo's page and its buttons, in a real browser."""

import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, ViewportSize, expect
from playwright.sync_api import Page as Tab
from tests.support.browser import CONTRAST, PATIENCE, needs_browser
from tests.support.deadlines import wait_until

from dynamirror.cache.completeness_marker import record_gap
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.demo.demo import Demo
from dynamirror.page.fault_injector import FaultInjector
from dynamirror.page.parts import ms
from dynamirror.page.show import demo_page
from dynamirror.recovery.rebuild_state import Progress, RebuildState, Run
from dynamirror.recovery.sweep import SweepProgress

pytestmark = needs_browser

PHONE = ViewportSize(width=390, height=844)
WRITES = 50
PROBE = "users:dynamirror-probe"


@dataclass
class Shown:
    """A demo and its page in a browser."""

    demo: Demo
    injector: FaultInjector
    url: str
    window: BrowserContext
    requests: list[str] = field(default_factory=list)

    def open(self, size: ViewportSize | None = None) -> Tab:
        """Open a tab that records its requests."""
        tab = self.window.new_page()
        if size:
            tab.set_viewport_size(size)
        tab.set_default_timeout(PATIENCE)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("websocket", lambda socket: self.requests.append(socket.url))
        tab.goto(self.url)
        expect(condition(tab)).to_have_text(re.compile(r"\w"))
        return tab


@pytest.fixture(scope="module")
def shown(browser: Browser) -> Iterator[Shown]:
    """Run a demo that writes only when a viewer starts it."""
    with (
        Demo(ids=25, rate=100, seed=7) as demo,  # few enough for a row each
        demo_page(demo) as (page, injector),
        browser.new_context() as window,
    ):
        stop = threading.Event()
        for _ in demo.write(PATIENCE / 1000, stop=stop):
            if demo.totals.written > WRITES and len(demo.totals.lags) > 1:
                stop.set()
        for _ in demo.drain():
            pass
        injector.resume()
        # A window is a page of Chromium's own, which takes a second; an empty tab keeps it open.
        window.new_page()
        yield Shown(demo, injector, page.url, window)


@pytest.fixture
def tab(shown: Shown) -> Iterator[Tab]:
    """Open a tab that shows a mirror in sync."""
    tab = shown.open()
    expect_condition(tab, "In sync")
    yield tab
    tab.close()


def condition(tab: Tab) -> Locator:
    return tab.get_by_test_id("condition")


def expect_condition(tab: Tab, word: str) -> None:
    # Ten times a second: some words are gone before `expect` polls again.
    tab.wait_for_function(
        "word => document.querySelector('[data-testid=condition]')?.textContent.trim() === word",
        arg=word,
        polling=100,
    )


def button(tab: Tab, name: str) -> Locator:
    return tab.get_by_test_id(f"press-{name}")


def press(tab: Tab, name: str) -> None:
    """Press a button as soon as no action is running."""
    expect(button(tab, name)).to_have_attribute("aria-disabled", "false")
    button(tab, name).click()


def expect_event(tab: Tab, text: str) -> None:
    """Wait until the newest event contains a text."""
    log = tab.get_by_role("log", name="What happened")
    first = log.locator("li").first
    expect(first).to_contain_text(text)


def wrong(tab: Tab) -> Locator:
    return tab.locator(".row.wrong")


def expect_figure(tab: Tab, name: str, text: str) -> None:
    expect(tab.get_by_test_id(name)).to_have_text(text)


def test_the_page_shows_the_demos_figures(shown: Shown, tab: Tab) -> None:
    totals, lag = shown.demo.totals, shown.demo.totals.lag_ms()
    assert totals.written > WRITES
    for name in ("written", "applied", "coalesced", "stale", "quarantined", "failed"):
        expect_figure(tab, name, f"{getattr(totals, name):,}")
    # Beside other processes, a lag may exceed a second, and is then shown in seconds.
    expect_figure(tab, "lag-p50", ms(lag["p50"]))
    expect_figure(tab, "lag-p99", ms(lag["p99"]))
    rows = tab.locator(".row.same:visible")
    expect(rows.first).to_be_visible()
    # Keys and values are read at once: the page shows other rows as soon as it has them.
    shown_values = dict(
        rows.evaluate_all(
            """rows => rows.map(row => [".key", ".value.cache"]
                .map(name => row.querySelector(name).innerText))"""
        )
    )
    items = shown.demo.client.scan(TableName=shown.demo.schema.table)["Items"]
    names = {f"users:{item['id']['S']}": item["name"]["S"] for item in items}
    for key, value in shown_values.items():
        if key in names:
            assert value.startswith(f"name {names[key]}, timestamp ")
        else:
            assert value == "no entry"
    assert names.keys() & shown_values.keys()


def test_writes_show_until_they_are_stopped(shown: Shown, tab: Tab) -> None:
    before = shown.demo.totals.written
    press(tab, "writes")
    expect(button(tab, "writes")).to_contain_text("Stop writing")
    wait_until(lambda: shown.demo.totals.written > before + 20)
    expect(tab.get_by_test_id("chart-rate")).to_have_text(
        re.compile(r"Now [1-9][0-9,]* written, [1-9]"), timeout=PATIENCE
    )
    expect(tab.locator(".row").filter(has_text=PROBE)).to_be_visible()
    expect(tab.get_by_test_id("sample")).to_contain_text(
        f"{PROBE} is the demo's own: it measures the lag."
    )
    press(tab, "writes")
    expect(button(tab, "writes")).to_contain_text("Start writing")
    expect_condition(tab, "In sync")
    expect_figure(tab, "written", f"{shown.demo.totals.written:,}")


def test_changes_wait_for_a_stopped_replicator_and_arrive_when_it_starts(
    shown: Shown, tab: Tab
) -> None:
    waiting = threading.Thread(target=shown.demo.wait, daemon=True)
    waiting.start()
    press(tab, "replicator")
    expect_condition(tab, "Stopped")
    item = {"id": {"S": "1"}, "name": {"S": "while stopped"}}
    shown.demo.client.put_item(TableName=shown.demo.schema.table, Item=item)
    expect(tab.locator(".row.moving")).to_contain_text("while stopped")
    assert wrong(tab).count() == 0
    press(tab, "hang")
    expect_event(tab, "The cache answers again; the replicator is stopped.")
    press(tab, "replicator")
    assert waiting.is_alive()
    expect_event(tab, "Started: all waiting changes were applied, 1 entry in ")
    expect_condition(tab, "In sync")
    assert shown.demo.compare().differences == 0


@pytest.mark.parametrize(
    ("name", "event"),
    [("twice", "changes again: "), ("backwards", "one by one, the newest first: ")],
)
def test_changes_delivered_again_are_refused(shown: Shown, tab: Tab, name: str, event: str) -> None:
    stale = shown.demo.totals.stale
    press(tab, name)
    expect_event(tab, event)
    expect_event(tab, ", 0 applied.")
    assert shown.demo.totals.stale > stale
    expect_figure(tab, "stale", f"{shown.demo.totals.stale:,}")
    expect_condition(tab, "In sync")
    assert shown.demo.compare().differences == 0


def test_changes_for_a_hung_cache_are_applied_when_it_answers(shown: Shown, tab: Tab) -> None:
    press(tab, "hang")
    expect_condition(tab, "Catching up")
    item = {"id": {"S": "2"}, "name": {"S": "while it hung"}}
    shown.demo.client.put_item(TableName=shown.demo.schema.table, Item=item)
    expect_event(tab, "none lost")
    expect_condition(tab, "In sync")
    assert shown.demo.compare().differences == 0


def test_a_flushed_cache_is_incomplete_until_it_is_rebuilt(shown: Shown, tab: Tab) -> None:
    press(tab, "flush")
    expect_condition(tab, "Incomplete")
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.row.wrong')]"
        ".some(row => row.textContent.includes('missing'))",
        polling=100,
    )
    expect_event(tab, "Healed in ")
    expect_condition(tab, "In sync")
    expect(tab.get_by_test_id("rebuild")).to_have_text(re.compile("Finished .* items read"))
    expect(wrong(tab)).to_have_count(0)
    assert shown.demo.compare().differences == 0


def test_a_rebuild_shows_how_far_its_load_and_its_sweep_are(shown: Shown, tab: Tab) -> None:
    state = RebuildState(shown.demo.cache, shown.demo.schema.table)
    run = Run("r", 1, 4, consistent=False, views="", begun="2026-01-01T00:00:00+00:00")
    state.begin(run)
    for segment in range(3):
        state.save_progress(run, segment, Progress(done=True, items=500))
    sentence, loaded, swept = map(
        tab.get_by_test_id, ("rebuild", "rebuild-loaded", "rebuild-swept")
    )
    expect(sentence).to_have_text("Loading since 2026-01-01T00:00:00+00:00: 1,500 items read.")
    expect(loaded).to_have_text("3 of 4 parts loaded")
    expect(swept).to_have_text("not yet swept")
    bar = tab.get_by_role("progressbar", name="3 of 4 parts loaded")
    expect(bar).to_have_js_property("position", 0.75)

    state.save_progress(run, 3, Progress(done=True, items=500))
    ranges = (SlotRange(0, 99), SlotRange(100, 16_383))
    state.decide_sweep_ranges(run, ranges)
    state.save_range_progress(run, ranges[0], SweepProgress(done=True, entries=700, deleted=3))
    seen = "700 entries seen, 3 orphaned and deleted"
    expect(sentence).to_have_text(f"Sweeping: {seen}, after 2,000 items read.")
    expect(loaded).to_have_text("4 of 4 parts loaded")
    expect(swept).to_have_text("1 of 2 parts swept")

    state.save_range_progress(run, ranges[1], SweepProgress(done=True))
    state.record_finished(run)
    expect(sentence).to_have_text(re.compile(rf"Finished 20.*: 2,000 items read, {seen}\."))
    expect(swept).to_have_text("2 of 2 parts swept")


def test_a_cache_flushed_from_outside_can_be_rebuilt(shown: Shown, tab: Tab) -> None:
    expect(button(tab, "rebuild")).to_be_hidden()
    demo = shown.demo
    demo.cache.broadcast(b"FLUSHALL")
    # After an old gap, a rebuild need not wait.
    record_gap(demo.cache, demo.views, stream=demo.stream_arn, at=1, reason="a test")
    expect_condition(tab, "Incomplete")
    expect(button(tab, "rebuild")).to_be_visible()
    press(tab, "rebuild")
    expect_event(tab, "Healed in ")
    expect_condition(tab, "In sync")
    assert shown.demo.compare().differences == 0


def test_a_viewers_action_ends_before_the_demo_compares(shown: Shown) -> None:
    shown.injector.press("replicator")
    shown.injector.finish()
    assert shown.demo.is_replicating
    events = shown.injector.events()
    shown.injector.press("flush")
    shown.injector.finish()
    assert shown.injector.events() == events
    assert shown.demo.compare().differences == 0
    shown.injector.resume()


def test_the_keyboard_reaches_every_button(shown: Shown, tab: Tab) -> None:
    reached: list[str] = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        focused = tab.evaluate(
            """() => {
                const style = getComputedStyle(document.activeElement);
                const name = document.activeElement.dataset.testid;
                return name && [name, style.outlineStyle, parseFloat(style.outlineWidth)];
            }"""
        )
        if focused:
            name, style, width = focused
            assert style == "solid", name
            assert width >= 2, name
            reached.append(name)
    visible = [name for name in _buttons(shown) if button(tab, name).is_visible()]
    assert reached[: len(visible)] == [f"press-{name}" for name in visible]
    stale = shown.demo.totals.stale
    button(tab, "twice").focus()
    tab.keyboard.press("Enter")
    wait_until(lambda: shown.demo.totals.stale > stale)
    expect_figure(tab, "stale", f"{shown.demo.totals.stale:,}")
    assert tab.evaluate("document.activeElement.dataset.testid") == "press-twice"


def _buttons(shown: Shown) -> list[str]:
    return [offered.name for offered in shown.injector.buttons()]


def test_a_damaged_entry_is_lit_up_readably_in_both_schemes_and_repaired(
    shown: Shown, tab: Tab
) -> None:
    press(tab, "damage")
    expect_condition(tab, "Not in sync")
    expect(wrong(tab)).to_have_count(1)
    expect(wrong(tab)).to_contain_text("users:fragile")
    expect(wrong(tab)).to_contain_text("different")
    assert shown.demo.compare().sample == {"different": ["users:fragile"]}
    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        is_dark = "document.body.classList.contains('body--dark')"
        tab.wait_for_function(f"{is_dark} === {str(scheme == 'dark').lower()}")
        assert tab.evaluate(CONTRAST) == []
    press(tab, "repair")
    expect_event(tab, "1 entry differed, 1 repaired")
    expect_condition(tab, "In sync")
    expect(wrong(tab)).to_have_count(0)
    assert tab.evaluate(CONTRAST) == []
    assert shown.demo.compare().differences == 0


def test_a_phone_need_not_scroll_sideways(shown: Shown) -> None:
    tab = shown.open(PHONE)
    expect_condition(tab, "In sync")
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    beyond = tab.evaluate(
        """() => [...document.querySelectorAll("main *")]
            .filter((element) => element.checkVisibility())
            .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
            .map((element) => element.outerHTML.slice(0, 200))"""
    )
    assert beyond == []
    # 25 entries or more are there.
    expect(tab.locator(".row.same:visible")).to_have_count(12)
    expect(tab.get_by_text("A small screen shows the first 12 of them.")).to_be_visible()
    tab.close()


def test_charts_have_descriptions_and_buttons_have_names(tab: Tab) -> None:
    assert tab.title() == "dynamirror"
    assert tab.locator("html").get_attribute("lang") == "en-US"
    buttons = tab.get_by_role("button").all()
    assert len(buttons) >= 7
    assert all(each.get_attribute("aria-label") or each.inner_text().strip() for each in buttons)
    lag, rate = (chart.get_attribute("aria-label") for chart in tab.locator("[role=img]").all())
    assert re.search(r"ms\. In the last minute: (median|nothing)", lag or "")
    assert re.search(r"\. Now [0-9,]+ written", rate or "")
    levels = tab.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    identifiers = tab.evaluate("() => [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(set(identifiers)) == len(identifiers)


def test_viewers_share_one_sampler(shown: Shown, tab: Tab) -> None:
    second = shown.open()
    press(tab, "twice")
    expect_event(tab, "changes again: ")
    expect_event(second, "changes again: ")
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("page sampler") == 1
    second.close()


def test_the_page_requests_nothing_from_other_hosts(shown: Shown, tab: Tab) -> None:
    expect(tab.locator(".row.same").first).to_be_visible()
    assert len(shown.requests) > 10
    assert any(url.startswith("ws://") for url in shown.requests)
    hosts = {
        urlsplit(url).netloc for url in shown.requests if not url.startswith(("data:", "blob:"))
    }
    assert hosts == {urlsplit(shown.url).netloc}
