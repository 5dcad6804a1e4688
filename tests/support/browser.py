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
