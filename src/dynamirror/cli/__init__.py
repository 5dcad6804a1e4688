"""The command line: parse options, call one function, print, exit with a status."""

import sys
from typing import Annotated

import typer

from dynamirror import __version__
from dynamirror.cli import backfill, demo, quarantine, run, simulate, status, verify, view
from dynamirror.errors import DynamirrorError

app = typer.Typer(
    help="Keep a Valkey cache an exact, ordered mirror of a DynamoDB table.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # "[default: ...]" in a help text would be lost as markup
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(run.run)
app.command()(simulate.simulate)
app.command()(status.status)
app.command()(backfill.backfill)
app.command()(verify.verify)
app.command()(quarantine.quarantine)
app.command()(quarantine.redrive)
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
    """Run the command line; exit with status 1 and one sentence on an error."""
    try:
        app()
    except DynamirrorError as error:
        typer.echo(f"dynamirror: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(1)
