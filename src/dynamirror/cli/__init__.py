"""The command line: parse, call one function, print, exit status."""

import sys
from typing import Annotated

import typer

from dynamirror import __version__
from dynamirror.cli import demo, mirror, quarantine, recovery, status, view
from dynamirror.errors import DynamirrorError

app = typer.Typer(
    help="Keeps a Valkey cache an exact, ordered mirror of a DynamoDB table.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # else "[default: ...]" in a help text is taken for markup, and lost
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(mirror.run)
app.command()(mirror.simulate)
app.command()(status.status)
app.command()(recovery.backfill)
app.command()(recovery.verify)
app.command()(quarantine.quarantine)
app.command("redrive")(quarantine.redrive_)
app.add_typer(view.app, name="view")


@app.callback()
def _options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command line; an error is one sentence on standard error and exit status 1."""
    try:
        app()
    except DynamirrorError as error:
        typer.echo(f"dynamirror: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(1)
