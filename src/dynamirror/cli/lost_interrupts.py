"""Ctrl-C and SIGTERM while Python runs a destructor, which ignores their exceptions."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# After the destructor.
_DELAY_SECONDS = 0.05


class TerminatedError(BaseException):
    """SIGTERM has come."""


_SIGNALS: dict[type[BaseException], signal.Signals] = {
    KeyboardInterrupt: signal.SIGINT,
    TerminatedError: signal.SIGTERM,
}


@contextmanager
def lost_interrupts_sent_again() -> Iterator[None]:
    """Send a signal again if a destructor ignored its exception; otherwise it would do nothing."""
    report = sys.unraisablehook

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        number = _SIGNALS.get(unraisable.exc_type)
        if number is None:
            report(unraisable)
            return
        from threading import Timer  # noqa: PLC0415 - Ctrl-C while it is imported must be no traceback

        timer = Timer(_DELAY_SECONDS, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = report
