"""Progress: a bar on a terminal, a plain line now and then elsewhere; always on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dynamirror.operations import Tell

_PLAIN_SECONDS = 5.0


@contextmanager
def shown() -> Iterator[Tell]:
    """Show what is told: what is being done, how much of it is, and of how much."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plainly(console)
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
        phase = ""

        def tell(what: str, done: float, of: float | None) -> None:
            nonlocal phase
            if what != phase:
                phase = what
                progress.reset(task, total=of, description=what)
            progress.update(task, completed=done, total=None if of is None else max(of, done))

        yield tell


def _plainly(console: Console) -> Tell:
    last = monotonic()

    def tell(what: str, done: float, of: float | None) -> None:
        nonlocal last
        if monotonic() - last >= _PLAIN_SECONDS:
            last = monotonic()
            amount = f"{done:,.0f}" if of is None else f"{done:,.0f} of about {max(of, done):,.0f}"
            console.print(f"{what}: {amount}", highlight=False, markup=False, soft_wrap=True)

    return tell
