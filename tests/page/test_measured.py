"""The tile with the measured consistency, in a real browser and from plain counts."""

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ViewportSize, expect
from playwright.sync_api import Page as Tab
from tests.support.browser import CONTRAST, PATIENCE, needs_browser

from dynamirror.demo.demo import Demo
from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.statistics import proven_nines
from dynamirror.inspection.tally import Tally, ViewTally, Violation, Within
from dynamirror.page.measurement import measurement_of
from dynamirror.page.show import demo_page
from dynamirror.page.state import Figure

PHONE = ViewportSize(width=360, height=780)
THRESHOLDS = (0.5, 1.0)
# One failure among so many checks costs a tenth of a nine or more.
ENOUGH = 60
CLAIM = re.compile(r"^at least (\d+\.\d) nines \(95%\), ([\d,]+) checks(, 1 failed)?$")


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """Run a demo that is asked soon."""
    with Demo(ids=20, rate=100, seed=3, thresholds=THRESHOLDS) as demo:
        stop = threading.Event()
        for _ in demo.write(PATIENCE / 1000, stop=stop):
            if demo.inspection().total.within["0.5"].consistent > ENOUGH:
                stop.set()
        for _ in demo.drain():
            pass
        yield demo


@pytest.fixture
def tab(demo: Demo, browser: Browser) -> Iterator[Tab]:
    """Open the page on a narrow phone."""
    with demo_page(demo) as (page, injector), browser.new_page(viewport=PHONE) as tab:
        injector.resume()
        tab.set_default_timeout(PATIENCE)
        tab.goto(page.url)
        yield tab


def proven(tab: Tab) -> tuple[float, int]:
    """Return the nines that the tile states, and the number of checks."""
    found = CLAIM.search(tab.get_by_test_id("nines").inner_text())
    assert found
    return float(found[1]), int(found[2].replace(",", ""))


@needs_browser
def test_a_damaged_entry_is_counted_as_a_violation_and_the_nines_fall(demo: Demo, tab: Tab) -> None:
    tile = tab.get_by_role("region", name="Measured consistency")
    claim = tab.get_by_test_id("nines")
    expect(claim).to_have_text(CLAIM)
    nines, checks = proven(tab)
    assert checks > ENOUGH
    assert nines == proven_nines(0, checks) >= 1
    expect(tab.get_by_test_id("within")).to_contain_text("100% of ")
    asked = "(changes are asked for from 0.5 s on)"  # without that, they would seem as late as that
    expect(tile.get_by_text("Staleness: ")).to_contain_text(asked)
    expect(tab.get_by_test_id("violations")).to_have_text("Violations: 0")
    expect(tile).not_to_have_class(re.compile("violated"))
    calm = claim.evaluate("element => getComputedStyle(element).color")

    tab.get_by_test_id("press-damage").click()
    expect(tab.get_by_test_id("violations")).to_have_text("Violations: 1")
    expect(tile).to_have_class(re.compile("violated"))
    expect(claim).to_have_text(re.compile(r" checks, 1 failed$"))
    nines, checks = proven(tab)
    assert nines == proven_nines(1, checks) < proven_nines(0, checks)
    entry = tile.get_by_role("log", name="Violations").locator("li")
    expect(entry).to_have_text(re.compile(r"wrong value, view \S+, item [0-9a-f]{16}, \d+ s old"))
    assert "fragile" not in entry.inner_text(), "a hash names the item"
    red = claim.evaluate("element => getComputedStyle(element).color")
    assert red != calm
    assert red == entry.evaluate("element => getComputedStyle(element).color")

    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        is_dark = "document.body.classList.contains('body--dark')"
        tab.wait_for_function(f"{is_dark} === {str(scheme == 'dark').lower()}")
        assert tab.evaluate(CONTRAST) == []
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    inspection = demo.inspection()
    assert inspection.total.violations == {"wrong_value": 1}
    assert [each.view for each in inspection.recent] == [demo.views[0].name]


def test_the_tile_has_bars_as_long_as_the_counts_and_the_latest_violations() -> None:
    staleness = [10, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    view = ViewTally(
        within={"1": Within(50, 49), "10": Within()},
        staleness=staleness,
        violations={"missing": 7},
        skipped=3,
    )
    recent = [
        Violation(
            at=number,
            table="users",
            view="users",
            item=f"{number:016x}",
            kind=ViolationKind.MISSING,
            expected="",
            seen="",
            age=61,
        )
        for number in range(7)
    ]
    shown = measurement_of(Tally(tables={"users": {"users": view}}, recent=recent))
    assert shown.violations == 7
    assert shown.claim == "at least 0.6 nines (95%), 56 checks, 7 failed"
    assert shown.within == (Figure("1 s", "98% of 50"), Figure("10 s", "none yet"))
    assert [(each.label, each.text, each.share) for each in shown.staleness] == [
        ("0.5 s", "10", 0.25),
        ("1 s", "40", 1.0),
        *((f"{bound} s", "0", 0.0) for bound in (2, 5, 10)),
        ("30 s", "1", 0.025),
    ]
    assert shown.note == "3 skipped"
    assert [text.split("item ")[1][:16] for text in shown.latest] == [
        f"{number:016x}" for number in (6, 5, 4, 3, 2)
    ]
    nothing = measurement_of(Tally())
    assert (nothing.claim, nothing.violations, nothing.latest) == ("no checks yet", 0, ())
