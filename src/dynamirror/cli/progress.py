"""Progress on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dynamirror.operations.service import OnProgress

_PLAIN_SECONDS = 5.0


@contextmanager
def progress_shown(prefix: str = "") -> Iterator[OnProgress]:
    """Give a function that shows the phase, the amount done and the total (None if unknown).

    Args:
        prefix: words before each phase.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console, prefix)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        shown_phase = ""

        def show(phase: str, done: float, total: float | None) -> None:
            nonlocal shown_phase
            if phase != shown_phase:
                shown_phase = phase
                progress.reset(task, total=total, description=escape(prefix + phase))
            progress.update(task, completed=done, total=None if total is None else max(total, done))

        yield show


def _plain_lines(console: Console, prefix: str) -> OnProgress:
    last = monotonic()
    # An interrupted job goes on from more than 0.
    shown_phase, begun, before = "", last, 0.0

    def show(phase: str, done: float, total: float | None) -> None:
        nonlocal last, shown_phase, begun, before
        now = monotonic()
        if phase != shown_phase:
            shown_phase, begun, before = phase, now, done
        if now - last >= _PLAIN_SECONDS:
            last = now
            amount = f"{done:,.0f}"
            if total is not None:
                amount += f" of about {max(total, done):,.0f}"
                amount += time_left(now - begun, done - before, total - done)
            console.print(
                f"{prefix}{phase}: {amount}", highlight=False, markup=False, soft_wrap=True
            )

    return show


def time_left(seconds: float, done: float, left: float) -> str:
    """Return in words how long a job still takes; empty where that is not known.

    Args:
        seconds: how long it took so far.
        done: what was done in that time.
        left: what is left to do.
    """
    if done <= 0 or left <= 0 or seconds <= 0:
        return ""
    return f", about {timedelta(seconds=round(seconds * left / done))} left"
