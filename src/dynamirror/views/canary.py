"""The canary: an item of our own in the mirrored table, which proves that changes come through.

It is the one item whose partition key, and sort key if any, are the constants below. The replicator
writes it, fenced as everything, to a key of our own; no view has it.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from dynamirror.errors import ConfigError
from dynamirror.records.attribute_value import Item
from dynamirror.views.encoding import JSON
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.keyspace import RESERVED, canary_key
from dynamirror.views.view import Schema, View

NAME: Final = f"{RESERVED}canary"


PARTITION: Final = {"S": NAME}


# Its one attribute beside the key, a map, so that no name is in the way of a key attribute's.
ATTRIBUTE: Final = "dynamirror"


_SORTS: Final[Mapping[str, Any]] = {"S": NAME, "N": "0", "B": NAME.encode()}


# A stream hands binary over as base64.
_SORT_VALUES: Final = (
    *({tag: value} for tag, value in _SORTS.items()),
    {"B": b64encode(NAME.encode()).decode()},
)


def is_canary(item: Item, schema: Schema) -> bool:
    """Return whether an item, or a primary key, is the canary's.

    Args:
        item: in DynamoDB JSON, with all key attributes.
        schema: of the table.
    """
    keys = schema.keys
    if item[keys[0]] != PARTITION:
        return False
    return len(keys) == 1 or item[keys[1]] in _SORT_VALUES


def item_key(schema: Schema) -> Item:
    """Return the canary's primary key, binary as bytes.

    Args:
        schema: of the table, with the types of its keys.

    Raises:
        ConfigError: the table cannot have a canary.
    """
    check_types(schema)
    values = (PARTITION, *({tag: _SORTS[tag]} for tag in schema.types[1:]))
    return dict(zip(schema.keys, values, strict=True))


def check_types(schema: Schema) -> None:
    """Refuse a table that cannot have a canary.

    Raises:
        ConfigError: its partition key is not text.
    """
    if schema.types[0] != "S":
        raise no_text(schema)


def no_text(schema: Schema) -> ConfigError:
    """Return the error for a partition key that is not text."""
    return ConfigError(
        f"table {schema.table}: its partition key {schema.keys[0]} is not text (S), so it cannot "
        "have a canary; do without one (context canary=false, or run without --canary)"
    )


@lru_cache(maxsize=64)
def view_of(schema: Schema) -> View:
    """Return the view that writes the canary, and nothing else."""
    key = canary_key(schema.table)
    template = KeyTemplate(key, (), (key,), frozenset())
    return View(
        name="canary",
        schema=schema,
        template=template,
        encoding=JSON,
        key_of=lambda _item: key,
        needs_old_image=False,
        is_static=True,
    )


def views_for(item: Item, views: Sequence[View]) -> Sequence[View]:
    """Return the views that write an item: the user's, or the canary's own.

    Args:
        item: the item, or its primary key.
        views: all views of the table.
    """
    schema = views[0].schema
    if item[schema.keys[0]] != PARTITION:  # every record comes here
        return views
    return (view_of(schema),) if is_canary(item, schema) else views
