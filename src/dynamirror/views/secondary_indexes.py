"""Views in place of a table's own secondary indexes, from its description by AWS."""

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from dynamirror.views.view import View, ViewSpec

Description = Mapping[str, Any]


def indexes_of(description: Description) -> dict[str, Description]:
    """Return a table's secondary indexes by name.

    Args:
        description: of the table, by AWS.
    """
    kinds = ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")
    return {index["IndexName"]: index for kind in kinds for index in description.get(kind, ())}


def proposals(description: Description, views: Sequence[View] = ()) -> Iterator[str]:
    """Yield a `[[view]]` in TOML for each index of a table that no view has the name of.

    An index that no view can replace comes as a comment.

    Args:
        description: of the table, by AWS.
        views: the views that there are.
    """
    known = {view.name for view in views}
    for name, index in indexes_of(description).items():
        if name in known:
            continue
        keys = _keys(index)
        if keys is None:
            yield f"# {name}: its key has several attributes of one kind, so no view is like it"
            continue
        partition, sort = keys
        parts = [f"partition = {json.dumps(partition, ensure_ascii=False)}"]
        if sort is not None:
            parts.append(f"sort = {json.dumps(sort, ensure_ascii=False)}")
        lines = [
            "[[view]]",
            f"name = {json.dumps(name)}",
            f"table = {json.dumps(description['TableName'])}",
            f"index = {{ {', '.join(parts)} }}",
        ]
        if (others := _projected(index)) is not None:
            # A view keeps the keys in any case, but needs one attribute to leave out the others.
            kept = others or [partition]
            lines.append(f"include = {json.dumps(kept, ensure_ascii=False)}")
        yield "\n".join(lines)


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
