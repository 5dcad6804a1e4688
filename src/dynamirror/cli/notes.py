"""Notes on standard error, before the work begins."""

from typing import Final

import typer

from dynamirror.cli.printable import printable
from dynamirror.recovery.limits import Duration

_LONG_SECONDS: Final = 3600.0


def note(sentence: str) -> None:
    """Print a note."""
    typer.echo(printable(f"note: {sentence}"), err=True)


def note_time(duration: Duration) -> None:
    """Print how long a job takes, if that is more than an hour."""
    if duration.seconds > _LONG_SECONDS:
        note(duration.sentence)
