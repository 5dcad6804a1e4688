"""Commands about views, which touch neither table nor cache: view check."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dynamirror.cli import options
from dynamirror.config import TableSpec, load_tables, load_views
from dynamirror.errors import ConfigError
from dynamirror.explain import Sample, in_words, sample
from dynamirror.filters import patterns
from dynamirror.local.example import read_items
from dynamirror.view import Views, ViewSpec

app = typer.Typer(help="Look at views before they are used.", no_args_is_help=True)
_VIEW_TYPE = "NEW_AND_OLD_IMAGES"
_MADE_UP = {"S": {"S": "7"}, "N": {"N": "7"}, "B": {"B": "Nw=="}}


@app.callback()
def _views() -> None:
    """Look at views before they are used."""


@app.command()
def check(
    file: Annotated[str, typer.Argument(metavar="MIRROR.TOML", help="The views.")],
    *,
    table: Annotated[
        str | None, typer.Option(help="Of which table. [default: the one of the file]")
    ] = None,
    item: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Items, in JSON. [default: items.json beside the views]"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Tell what views do: in words, with an entry of each, what it costs, and Lambda's filter."""
    specs = load_views(file)
    found = _table(file, specs, table)
    items = _items(item or Path(file).parent / "items.json", found, asked=item is not None)
    views = Views(specs, lambda _table, _keys: found.schema).bind(found.schema)
    mine = [spec for spec in specs if spec.table in (None, found.name)]
    told = [
        {
            "view": view.name,
            "words": list(in_words(spec, view)),
            "entry": _entry(sample(view, items)),
        }
        for spec, view in zip(mine, views, strict=True)
    ]
    asked = patterns(specs, found.schema, _VIEW_TYPE)
    if as_json:
        typer.echo(options.to_json({"table": found.name, "views": told, "filters": asked}))
        return
    for one in told:
        _print(one)
    if not asked:
        typer.echo("Lambda gets every record: not all that the views ask for fits its filter")
    for pattern in asked:
        typer.echo(f"Lambda gets records that fit {json.dumps(pattern, ensure_ascii=False)}")


def _entry(one: Sample | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "key": one.key,
        "value": one.value,
        "expires": one.expires,
        "bytes": one.cost | {"sum": sum(one.cost.values())},
    }


def _print(told: dict[str, Any]) -> None:
    typer.echo(f"{told['view']}:")
    for line in told["words"]:
        typer.echo(f"  {line}")
    entry = told["entry"]
    if entry is None:
        typer.echo("  none of the items has an entry here\n")
        return
    cost = dict(entry["bytes"])
    total = cost.pop("sum")
    parts = ", ".join(f"{name} {size}" for name, size in cost.items())
    typer.echo(f"  for instance {entry['key']}  →  {entry['value']}")
    typer.echo(f"  {total} bytes: {parts}; the fence goes a day after the last change\n")


def _table(file: str, specs: tuple[ViewSpec, ...], name: str | None) -> TableSpec:
    """The table that is meant.

    Raises:
        ConfigError: it is not clear which.
    """
    tables = {one.name: one for one in load_tables(file)}
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


def _items(path: Path, table: TableSpec, *, asked: bool) -> list[dict[str, Any]]:
    """Items to show entries of: those of the file, or one that is made up from the key."""
    if asked or path.exists():
        return read_items(path, table.schema)
    return [{name: _MADE_UP[tag] for name, tag in table.keys.items()}]
