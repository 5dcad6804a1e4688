"""Waiting for what must come about."""

import time
from collections.abc import Callable

from dynamirror.errors import CacheError


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not hold in time.
    """
    end = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if condition():
            return
        answered = time.monotonic()
        assert answered < end, f"not so after {seconds:g} s: {condition}"
        # To ask takes time from what is waited for: the dearer the question, the rarer.
        time.sleep(min(max(0.01, 2 * (answered - asked)), 0.5))


def settle(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds, though servers may be too busy to answer in time.

    For what a test needs before it begins; nothing but an answer that comes late is forgiven.

    Raises:
        AssertionError: it did not hold in time.
    """

    def holds() -> object:
        try:
            return condition()
        except CacheError:
            return False

    wait_until(holds)


def done(act: Callable[[], object]) -> Callable[[], bool]:
    """Return a condition that holds once the act was done without an error."""

    def was_done() -> bool:
        act()
        return True

    return was_done
