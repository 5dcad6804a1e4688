"""Ctrl-C and SIGTERM end a command in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer


@contextmanager
def interruptible() -> Iterator[None]:
    """Exit with status 128 + signal on Ctrl-C or SIGTERM, after every `finally` has run."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    except _TerminatedError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


class _TerminatedError(BaseException):
    pass
