"""All commands, with the options that come before a command."""

from typing import Annotated

import typer

from dynamirror import __version__
from dynamirror.cli import (
    backfill,
    cost,
    demo,
    inspect,
    package,
    preflight,
    quarantine,
    run,
    simulate,
    status,
    verify,
    view,
)
from dynamirror.cli.one_value import OneValueCommand

app = typer.Typer(
    help="Keep a Valkey cache an exact, ordered mirror of DynamoDB tables.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # "[default: ...]" in a help text would be lost as markup
    pretty_exceptions_enable=False,
)
for _command in (
    demo.demo,
    preflight.preflight,
    package.package,
    run.run,
    simulate.simulate,
    status.status,
    backfill.backfill,
    verify.verify,
    inspect.inspect,
    quarantine.quarantine,
    quarantine.redrive,
    cost.cost,
):
    app.command(cls=OneValueCommand)(_command)
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
