"""A local Chromium that sends no requests of its own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# In milliseconds; Playwright's default is five seconds.
PATIENCE = 60_000
# Texts whose contrast is too poor, and their contrasts.
CONTRAST = """() => {
    const light = (text) => {
        const parts = text.match(/[0-9.]+/g).map(Number);
        const [r, g, b] = parts.slice(0, 3).map((part) => {
            const share = part / 255;
            return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return { light: 0.2126 * r + 0.7152 * g + 0.0722 * b, seen: parts[3] !== 0 };
    };
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const found = light(getComputedStyle(element).backgroundColor);
            if (found.seen) return found.light;
        }
        return 1;
    };
    const poor = [];
    for (const element of document.querySelectorAll("main *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility() || element.matches("i")) continue;
        const style = getComputedStyle(element);
        const svg = element instanceof SVGElement;
        const [a, b] = [light(svg ? style.fill : style.color).light, ground(element)];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) poor.push([element.textContent, contrast]);
    }
    return poor;
}"""
MISSING = (
    "no Chromium was found: install it (on Debian: apt-get install chromium) or set CHROMIUM "
    "to its path"
)


def find_browser() -> str | None:
    """Return the path of Chromium or Chrome, or None if there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


needs_browser = pytest.mark.skipif(find_browser() is None, reason=MISSING)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Run Chromium without a window."""
    # Chromium's sandbox does not start for root.
    root_flags = ("--no-sandbox",) if os.geteuid() == 0 else ()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=[*_FLAGS, *root_flags]
        )
        try:
            yield browser
        finally:
            browser.close()
