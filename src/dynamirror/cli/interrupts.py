"""Ctrl-C and SIGTERM end a command in order."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

import typer

from dynamirror.cli.lost_interrupts import TerminatedError, is_stopping

TERMINATED = 128 + signal.SIGTERM


@contextmanager
def interruptible(
    on_stop: Callable[[], object] = lambda: None,
    *,
    terminated: int = TERMINATED,
    drain: float | None = None,
) -> Iterator[None]:
    """Exit with status 128 + signal on Ctrl-C or SIGTERM, after every `finally` has run.

    With a deadline, another SIGTERM changes nothing.

    Args:
        on_stop: called then, before the exit.
        terminated: exit status after SIGTERM.
        drain: seconds for what runs after SIGTERM; then the process ends with status 1. None for
            no limit.
    """
    # A handler may interrupt itself, so it must wait for no lock; to start a thread, it would.
    begun, ended = SimpleQueue[None](), threading.Event()

    def end_late(seconds: float) -> None:
        begun.get()
        if not ended.wait(seconds):
            _end_now(seconds)

    def stop(number: int, frame: FrameType | None) -> None:
        if drain is not None:
            begun.put(None)
            if is_stopping():
                return
        if callable(previous):
            previous(number, frame)
        raise TerminatedError

    if drain is not None:
        threading.Thread(target=end_late, args=(drain,), name="drain", daemon=True).start()
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
        signal.signal(signal.SIGTERM, previous)
        ended.set()
        begun.put(None)


def _end_now(seconds: float) -> None:
    sys.stderr.write(
        f"dynamirror: not stopped within {seconds:g} s of --drain; the next process delivers the "
        "batches under way again\n"
    )
    sys.stderr.flush()
    os._exit(1)
