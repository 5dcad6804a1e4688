"""Builds what the functions use from their environment and their events."""

import functools
import os
from typing import Any

import msgspec

from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError
from dynamirror.operations.service import Operations
from dynamirror.settings import Settings


@functools.cache
def operations() -> Operations:
    """Return the operations on one mirror, kept between invocations.

    The settings come from the environment (`settings.Settings`); DYNAMODB_TABLE names the table.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    table = os.environ.get("DYNAMODB_TABLE", "")
    if not table:
        raise ConfigError("environment: DYNAMODB_TABLE: is missing; set it to the table's name")
    return Operations(Settings.from_env(os.environ), Aws(), table)


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
