"""Commands about views that need no cache: view check."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dynamirror.cli import options
from dynamirror.cli.one_value import OneValueCommand
from dynamirror.cli.output import print_json
from dynamirror.cli.printable import printable
from dynamirror.demo.contents import SIMULATED
from dynamirror.demo.example import assumed_key_named, items_path, read_items
from dynamirror.deployment.file import check_sections
from dynamirror.dynamodb.client import describe_schema
from dynamirror.errors import ConfigError, OptionError
from dynamirror.records.attribute_value import Item, number_text
from dynamirror.settings import load_tables, load_views
from dynamirror.views.event_filter import FilterPattern, patterns_of_views
from dynamirror.views.explain import Sample, in_words, sample, too_long_keys
from dynamirror.views.key_spaces import check_tables
from dynamirror.views.mirror_toml import TableSpec
from dynamirror.views.secondary_indexes import difference, indexes_of, proposals
from dynamirror.views.unknown_attributes import unknown_attributes
from dynamirror.views.view import View, ViewSpec, bind_views

app = typer.Typer(help="Check views before use.", no_args_is_help=True)
_VIEW_TYPE = "NEW_AND_OLD_IMAGES"
_NO_ITEMS = "no sample: put some items into items.json beside the views, or name a file with --item"
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
            metavar="FILE",
            help="File of items, as for demo --load. [default: items.json beside the views]",
        ),
    ] = None,
    indexes: Annotated[
        bool,
        typer.Option(
            "--indexes", help="Propose views in place of the table's own indexes in DynamoDB."
        ),
    ] = False,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Explain views: what they do, a sample entry of each and its cost, and Lambda's filter."""
    options.check_applies(
        "--endpoint-url", given=endpoint_url is not None, needed="--indexes", present=indexes
    )
    check_sections(file)
    specs = load_views(file)
    table_spec = _table(file, specs, table)
    check_tables(specs, [each.name for each in load_tables(file)])
    path = item or items_path(file, load_tables(file), table_spec.name)
    with assumed_key_named(file):
        items = read_items(path, table_spec.schema) if item is not None or path.exists() else []
        views = bind_views(specs, table_spec.schema)
    samples: list[Item] = [_as_stored({"M": item})["M"] for item in items] or [_made_up(table_spec)]
    found = patterns_of_views(views, _VIEW_TYPE)
    specs_of_table = [spec for spec in specs if spec.table in (None, table_spec.name)]
    explanations = [
        {
            "view": view.name,
            "words": [*in_words(spec, view), *filter(None, [too_long_keys(view, items)])],
            "entry": _entry(sample(view, samples)),
            "unknown": list(unknown_attributes(spec, view, items)) if items else [],
            "filters": [pattern for pattern, names in found if view.name in names],
        }
        for spec, view in zip(specs_of_table, views, strict=True)
    ]
    proposed = _proposed(specs, views, endpoint_url) if indexes else []
    if as_json:
        filters = [pattern for pattern, _names in found]
        found_indexes = {"indexes": proposed} if indexes else {}
        print_json(
            {"table": table_spec.name, "views": explanations, "filters": filters} | found_indexes
        )
        return
    for explanation in explanations:
        _print(explanation, is_made_up=not items)
    _print_filter(views, found)
    for text in proposed:
        typer.echo("\n" + "\n".join(map(printable, text.split("\n"))))


def _proposed(
    specs: Sequence[ViewSpec], views: Sequence[View], endpoint_url: str | None
) -> list[str]:
    """Return proposals in TOML for the table's indexes, and how views of their names differ.

    Raises:
        SourceError: the table cannot be described.
    """
    table = views[0].schema.table
    _, description = describe_schema(options.read_aws(endpoint_url).dynamodb(), table)
    found = indexes_of(description)
    specs_of_table = [spec for spec in specs if spec.table in (None, table)]
    lines = [
        f"# {spec.name}: {reason}"
        for spec, view in zip(specs_of_table, views, strict=True)
        if spec.index is not None and spec.name in found
        if (reason := difference(spec, view, found[spec.name]))
    ]
    return [*lines, *proposals(description, specs)] or [
        f"# table {table} has no index that a view does not replace already"
    ]


def _as_stored(value: dict[str, Any]) -> dict[str, Any]:
    """Return an attribute value with its numbers as DynamoDB stores them: 79.0 as 79."""
    match value:
        case {"N": str(digits)}:
            return {"N": number_text(digits)}
        case {"NS": list(numbers)}:
            return {"NS": [number_text(digits) for digits in numbers]}
        case {"L": list(values)}:
            return {"L": [_as_stored(inner) for inner in values]}
        case {"M": dict(values)}:
            return {"M": {name: _as_stored(inner) for name, inner in values.items()}}
    return value


def _entry(entry: Sample | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "key": entry.key,
        "value": entry.value,
        "expires": entry.expires,
        "bytes": entry.cost | {"sum": sum(entry.cost.values())},
    }


def _print(explanation: dict[str, Any], *, is_made_up: bool) -> None:
    typer.echo(printable(f"{explanation['view']}:"))
    for line in [*explanation["words"], *explanation["unknown"]]:
        typer.echo(printable(f"  {line}"))
    entry = explanation["entry"]
    if entry is None:
        typer.echo(f"  {_NO_ITEMS if is_made_up else 'none of the items has an entry here'}\n")
        return
    cost = dict(entry["bytes"])
    total = cost.pop("sum")
    parts = ", ".join(f"{name} {size}" for name, size in cost.items())
    origin = " (a made-up item)" if is_made_up else ""
    typer.echo(printable(f"  for instance {entry['key']}  →  {entry['value']}{origin}"))
    typer.echo(f"  {total} bytes: {parts}; the fence expires a day after the last change\n")


def _print_filter(views: Sequence[View], found: Sequence[FilterPattern]) -> None:
    """Print Lambda's event filter, each pattern with the views that need it.

    A pattern for the new image that recurs for the old image is one line.
    """
    if not found:
        broad = [view.name for view in views if not patterns_of_views([view], _VIEW_TYPE)]
        needs = f"the needs of {' and '.join(broad)}" if broad else "all that the views need"
        typer.echo(f"Lambda gets every record: its filter cannot express {needs}")
        return
    typer.echo("Lambda gets the records that fit one of these:")
    patterns = [pattern for pattern, _views in found]
    for pattern, names in found:
        ((image, fields),) = pattern["dynamodb"].items()
        if image == "OldImage" and {"dynamodb": {"NewImage": fields}} in patterns:
            continue
        has_twin = image == "NewImage" and {"dynamodb": {"OldImage": fields}} in patterns
        twin = ", or the same with OldImage" if has_twin else ""
        text = f"{', '.join(names)}: {json.dumps(pattern, ensure_ascii=False)}{twin}"
        typer.echo(f"  {printable(text)}")


def _made_up(table: TableSpec) -> Item:
    """Return an item as the demo writes it, or one that consists of a key."""
    if table.keys == {"id": "S"}:
        return SIMULATED[0]
    return {name: _SAMPLE_KEYS[tag] for name, tag in table.keys.items()}


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
        raise OptionError(
            f"--table: {file} has no [[table]] {name}; it has {', '.join(sorted(tables))}"
        )
    return tables.get(name) or TableSpec(name, {"id": "S"})
