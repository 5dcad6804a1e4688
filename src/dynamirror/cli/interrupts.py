"""Ctrl-C and SIGTERM end a command in order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from dynamirror.cli.lost_interrupts import TerminatedError


@contextmanager
def interruptible(on_stop: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Exit with status 128 + signal on Ctrl-C or SIGTERM, after every `finally` has run.

    Args:
        on_stop: called then, before the exit.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TerminatedError

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        on_stop()
        raise typer.Exit(128 + signal.SIGINT) from None
    except TerminatedError:
        on_stop()
        raise typer.Exit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
