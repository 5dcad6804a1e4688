"""Ctrl-C and SIGTERM while code runs that ignores their exceptions: destructors, and Python's C."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Between the attempts.
_REPEAT_SECONDS = 0.1


class TerminatedError(BaseException):
    """SIGTERM has come."""


_ERRORS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: TerminatedError,
}


@contextmanager
def lost_interrupts_raised_again(interrupt: Any = signal.default_int_handler) -> Iterator[None]:
    """Raise KeyboardInterrupt or TerminatedError until something handles it.

    Without that, a command whose exception is ignored would go on.

    Args:
        interrupt: the handler of SIGINT before; where it is not Python's own, it stays.
    """
    newest = signal.SIGINT
    report = sys.unraisablehook

    def raise_error(number: int, _frame: FrameType | None) -> None:
        nonlocal newest
        newest = signal.Signals(number)
        signal.setitimer(signal.ITIMER_REAL, _REPEAT_SECONDS)
        raise _ERRORS[number]

    def raise_again(_number: int, frame: FrameType | None) -> None:
        if is_stopping():  # and may be ignored later
            signal.setitimer(signal.ITIMER_REAL, _REPEAT_SECONDS)
        else:
            raise_error(newest, frame)

    def report_others(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type not in _ERRORS.values():
            report(unraisable)

    handlers: dict[signal.Signals, Any] = {signal.SIGTERM: raise_error, signal.SIGALRM: raise_again}
    is_ours = interrupt is signal.default_int_handler
    handlers[signal.SIGINT] = raise_error if is_ours else interrupt
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    sys.unraisablehook = report_others
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler)


def is_stopping() -> bool:
    """Return whether the main thread handles Ctrl-C or SIGTERM; not if the exception was lost."""
    error = sys.exception()
    while error is not None and not isinstance(error, tuple(_ERRORS.values())):
        error = error.__context__
    return error is not None
