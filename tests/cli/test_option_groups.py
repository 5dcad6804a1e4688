"""A command takes a group of options as one dataclass."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dynamirror.cli import options
from dynamirror.cli.option_groups import with_option_groups
from dynamirror.cli.quarantine import redrive


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to go."""

    town: Annotated[str, typer.Option("--town", "-t")]
    street: Annotated[str | None, typer.Option()] = None


@with_option_groups
def visit(*, place: Place, days: Annotated[int, typer.Option(min=1)] = 2) -> None:
    """Visit a place."""
    typer.echo(f"{place} {days}")


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["-t", "Bonn"], "Place(town='Bonn', street=None) 2\n"),
        (
            ["--street", "Am Hof", "--town", "Bonn", "--days", "3"],
            f"{Place(town='Bonn', street='Am Hof')} 3\n",
        ),
    ],
)
def test_the_fields_of_a_group_are_options_of_the_command(
    arguments: list[str], output: str
) -> None:
    app = typer.Typer()
    app.command()(visit)
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.output) == (0, output)


def test_a_field_without_a_default_is_required() -> None:
    app = typer.Typer()
    app.command()(visit)
    assert CliRunner().invoke(app, ["--days", "3"]).exit_code == 2


def test_a_group_stands_in_the_signature_where_its_parameter_stood() -> None:
    assert list(inspect.signature(visit).parameters) == ["town", "street", "days"]
    fields = list(inspect.signature(options.MirrorOptions).parameters)
    assert list(inspect.signature(redrive).parameters) == [*fields, "wait", "new_views", "as_json"]
