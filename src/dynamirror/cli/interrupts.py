"""Ctrl-C and SIGTERM end a command in order."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from dynamirror.cli.lost_interrupts import TerminatedError

TERMINATED = 128 + signal.SIGTERM


@contextmanager
def interruptible(
    on_stop: Callable[[], object] = lambda: None,
    *,
    terminated: int = TERMINATED,
    drain: float | None = None,
) -> Iterator[None]:
    """Exit with status 128 + signal on Ctrl-C or SIGTERM, after every `finally` has run.

    Args:
        on_stop: called then, before the exit.
        terminated: exit status after SIGTERM.
        drain: seconds for what runs after SIGTERM; then the process ends with status 1. None for
            no limit.
    """
    deadline = threading.Timer(drain or 0, _end_now, (drain,))
    deadline.daemon = True

    def stop(_number: int, _frame: FrameType | None) -> None:
        if drain is not None and deadline.ident is None:
            deadline.start()
        raise TerminatedError

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        on_stop()
        raise typer.Exit(128 + signal.SIGINT) from None
    except TerminatedError:
        on_stop()
        raise typer.Exit(terminated) from None
    finally:
        deadline.cancel()
        signal.signal(signal.SIGTERM, previous)


def _end_now(seconds: float) -> None:
    sys.stderr.write(
        f"dynamirror: not stopped within {seconds:g} s of --drain; the next process delivers the "
        "batches under way again\n"
    )
    sys.stderr.flush()
    os._exit(1)
