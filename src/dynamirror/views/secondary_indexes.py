"""Views in place of a table's own secondary indexes, from its description by AWS."""

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from dynamirror.errors import ConfigError
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, View, ViewSpec, bind_views

Description = Mapping[str, Any]


def indexes_of(description: Description) -> dict[str, Description]:
    """Return a table's secondary indexes by name.

    Args:
        description: of the table, by AWS.
    """
    kinds = ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")
    return {index["IndexName"]: index for kind in kinds for index in description.get(kind, ())}


def proposals(description: Description, specs: Sequence[ViewSpec] = ()) -> Iterator[str]:
    """Yield a `[[view]]` in TOML for each index of a table that no view has the name of.

    An index that no view can replace comes as a comment.

    Args:
        description: of the table, by AWS.
        specs: the views that there are, of all tables.
    """
    table = description["TableName"]
    keys = {key["KeyType"]: key["AttributeName"] for key in description["KeySchema"]}
    schema = Schema(table, tuple(keys[kind] for kind in ("HASH", "RANGE") if kind in keys))
    others = [spec for spec in specs if spec.table in (None, table)]
    replaced = {spec.name for spec in others if spec.index is not None}
    for name, index in indexes_of(description).items():
        if name in replaced:
            continue
        if name in {spec.name for spec in specs}:
            yield f"# {name}: a view that is no index of this table has the name; rename that view"
            continue
        keys_of_index = _keys(index)
        if keys_of_index is None:
            yield f"# {name}: its key has several attributes of one kind, so no view is like it"
            continue
        text = _proposal(table, name, index, *keys_of_index)
        try:
            bind_views([*others, *parse_views(text)], schema)
        except ConfigError as error:
            yield f"# {name}: no view is like it: {' '.join(str(error).splitlines())}"
        else:
            yield text


def _proposal(table: str, name: str, index: Description, partition: str, sort: str | None) -> str:
    parts = [f"partition = {_quoted(partition)}"]
    if sort is not None:
        parts.append(f"sort = {_quoted(sort)}")
    lines = [
        "[[view]]",
        f"name = {_quoted(name)}",
        f"table = {_quoted(table)}",
        f"index = {{ {', '.join(parts)} }}",
    ]
    if (others := _projected(index)) is not None:
        # A view keeps the keys in any case, but needs one attribute to leave out the others.
        lines.append(f"include = [{', '.join(map(_quoted, others or [partition]))}]")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return a text as a string of TOML, which is JSON's but for one more escape."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def difference(spec: ViewSpec, view: View, index: Description) -> str | None:
    """Return how the answers of an index view differ from those of the table's index; None if not.

    Args:
        spec: the view as it was written, of the index's name.
        view: bound to its table.
        index: the index, by AWS.
    """
    assert spec.index is not None
    keys, own = _keys(index), (spec.index.partition, spec.index.sort)
    if keys != own:
        return f"its key is {_listed(own)}, and that of the table's index is {_listed(keys or ())}"
    if view.index is None:
        return "its encoding or its score keeps it from answering queries as the table's index does"
    if view.when is not None:
        return "`when` leaves out items that the table's index has"
    projection = spec.projection
    if projection.exclude or projection.rename or projection.constants:
        return "`exclude`, `rename` and `constants` make other items than the table's index has"
    others = _projected(index)
    return _attribute_difference(
        spec.order.completed(projection, view.schema.keys).include,
        None if others is None else {*others, *spec.index.names, *view.schema.keys},
    )


def _attribute_difference(
    found: AbstractSet[str] | None, expected: AbstractSet[str] | None
) -> str | None:
    if found == expected:
        return None
    if found is None or expected is None:
        fewer = _listed(sorted(found or expected or ()))
        one, other = ("all attributes", fewer) if found is None else (fewer, "all attributes")
        return f"it has {one}, and the table's index has {other}"
    parts = (
        (sorted(expected - found), "it lacks {} of the table's index"),
        (sorted(found - expected), "it has {} beside what the table's index has"),
    )
    return " and ".join(text.format(_listed(names)) for names, text in parts if names)


def _keys(index: Description) -> tuple[str, str | None] | None:
    """Return partition and sort attribute; None if there are several of either."""
    kinds: dict[str, list[str]] = {}
    for key in index["KeySchema"]:
        kinds.setdefault(key["KeyType"], []).append(key["AttributeName"])
    partitions, sorts = kinds.get("HASH", []), kinds.get("RANGE", [])
    if len(partitions) != 1 or len(sorts) > 1:
        return None
    return partitions[0], sorts[0] if sorts else None


def _projected(index: Description) -> list[str] | None:
    """Return the attributes beside the keys; None for all."""
    projection = index.get("Projection", {})
    if projection.get("ProjectionType") == "ALL":
        return None
    return sorted(projection.get("NonKeyAttributes", ()))


def _listed(names: Sequence[str | None]) -> str:
    return ", ".join(name for name in names if name) or "another"
