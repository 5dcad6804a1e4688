"""Builds what the functions use from their environment and their events."""

import functools
import os
from typing import Any

import msgspec

from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError
from dynamirror.operations.service import Operations
from dynamirror.settings import Settings
from dynamirror.validation import Name


class _Event(msgspec.Struct, frozen=True):
    """The part of an event that names a table."""

    table: Name | None = None


@functools.cache
def operations(table: str | None = None) -> Operations:
    """Return the operations on the mirror of a table, kept between invocations.

    The settings come from the environment (`settings.Settings`). DYNAMODB_TABLES names the tables,
    and DYNAMODB_TABLE the first of them.

    Args:
        table: name of the table; None for the first one.

    Raises:
        ConfigError: a setting is missing or wrong, or the mirror has no such table.
    """
    first = os.environ.get("DYNAMODB_TABLE", "")
    if not first:
        raise ConfigError("environment: DYNAMODB_TABLE: is missing; set it to the table's name")
    names = os.environ.get("DYNAMODB_TABLES", first).split(",")
    if table is not None and table not in names:
        raise ConfigError(
            f"event: table: {table!r} is no table of this mirror; its tables are {', '.join(names)}"
        )
    settings = Settings.from_env(os.environ).shared_by(len(names))
    return Operations(settings, Aws(), table or first)


def operations_of(event: Any) -> Operations:
    """Return the operations on the mirror of the table that an event names, or of the first.

    Args:
        event: the event; its `table` is a name, and may be missing.

    Raises:
        ConfigError: a setting is missing or wrong, or the mirror has no such table.
    """
    table = convert(event, _Event, "event").table if isinstance(event, dict) else None
    if table in (None, os.environ.get("DYNAMODB_TABLE")):
        return operations()
    return operations(table)


def convert(data: Any, kind: Any, source: str) -> Any:
    """Return plain data as a value of a type.

    Args:
        data: the data, as JSON has it.
        kind: the type.
        source: the name of the data in messages.

    Raises:
        ConfigError: the data do not fit the type.
    """
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: cannot be read: {error}") from None
