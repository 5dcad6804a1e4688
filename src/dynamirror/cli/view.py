"""Commands about views that need neither table nor cache: view check."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dynamirror.cli import options
from dynamirror.cli.one_value import OneValueCommand
from dynamirror.cli.output import print_json
from dynamirror.demo.example import assumed_key_named, read_items
from dynamirror.errors import ConfigError
from dynamirror.settings import load_tables, load_views
from dynamirror.views.event_filter import patterns
from dynamirror.views.explain import Sample, in_words, sample
from dynamirror.views.mirror_toml import TableSpec
from dynamirror.views.view import ViewSpec, bind_views

app = typer.Typer(help="Check views before use.", no_args_is_help=True)
_VIEW_TYPE = "NEW_AND_OLD_IMAGES"
_SAMPLE_KEYS = {"S": {"S": "7"}, "N": {"N": "7"}, "B": {"B": "Nw=="}}


@app.callback()
def _views() -> None:
    """Check views before use."""


@app.command(cls=OneValueCommand)
def check(
    file: Annotated[str, typer.Argument(metavar="MIRROR.TOML", help="File of the views.")],
    *,
    table: Annotated[
        str | None, typer.Option(help="Name of the table. [default: the only one of the file]")
    ] = None,
    item: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON file of items. [default: items.json beside the views]"
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Explain views: what they do, a sample entry of each and its cost, and Lambda's filter."""
    specs = load_views(file)
    table_spec = _table(file, specs, table)
    with assumed_key_named(file):
        items = _items(
            item or Path(file).parent / "items.json", table_spec, must_exist=item is not None
        )
        views = bind_views(specs, table_spec.schema)
    specs_of_table = [spec for spec in specs if spec.table in (None, table_spec.name)]
    explanations = [
        {
            "view": view.name,
            "words": list(in_words(spec, view)),
            "entry": _entry(sample(view, items)),
        }
        for spec, view in zip(specs_of_table, views, strict=True)
    ]
    filters = patterns(specs, table_spec.schema, _VIEW_TYPE)
    if as_json:
        print_json({"table": table_spec.name, "views": explanations, "filters": filters})
        return
    for explanation in explanations:
        _print(explanation)
    if not filters:
        typer.echo("Lambda gets every record: the views ask for more than its filter can express")
    for pattern in filters:
        typer.echo(f"Lambda gets records that fit {json.dumps(pattern, ensure_ascii=False)}")


def _entry(entry: Sample | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "key": entry.key,
        "value": entry.value,
        "expires": entry.expires,
        "bytes": entry.cost | {"sum": sum(entry.cost.values())},
    }


def _print(explanation: dict[str, Any]) -> None:
    typer.echo(f"{explanation['view']}:")
    for line in explanation["words"]:
        typer.echo(f"  {line}")
    entry = explanation["entry"]
    if entry is None:
        typer.echo("  none of the items has an entry here\n")
        return
    cost = dict(entry["bytes"])
    total = cost.pop("sum")
    parts = ", ".join(f"{name} {size}" for name, size in cost.items())
    typer.echo(f"  for instance {entry['key']}  →  {entry['value']}")
    typer.echo(f"  {total} bytes: {parts}; the fence expires a day after the last change\n")


def _table(file: str, specs: tuple[ViewSpec, ...], name: str | None) -> TableSpec:
    """Return the table to explain the views for.

    Raises:
        ConfigError: the table is ambiguous, or not in the file.
    """
    tables = {table.name: table for table in load_tables(file)}
    names = set(tables) or {spec.table for spec in specs if spec.table}
    if name is None:
        if len(names) > 1:
            raise ConfigError(
                f"{file}: is for {len(names)} tables; choose one of {', '.join(sorted(names))} "
                "with --table"
            )
        name = next(iter(names), "users")
    elif tables and name not in tables:
        raise ConfigError(
            f"--table: {file} has no [[table]] {name}; it has {', '.join(sorted(tables))}"
        )
    return tables.get(name) or TableSpec(name, {"id": "S"})


def _items(path: Path, table: TableSpec, *, must_exist: bool) -> list[dict[str, Any]]:
    """Return the items of a file, or else one item that consists of a key."""
    if must_exist or path.exists():
        return read_items(path, table.schema)
    return [{name: _SAMPLE_KEYS[tag] for name, tag in table.keys.items()}]
