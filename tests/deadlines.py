"""Waiting for what must come about."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not hold in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds:g} s: {condition}"
        time.sleep(0.01)
