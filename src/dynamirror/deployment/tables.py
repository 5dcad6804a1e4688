"""The tables of a deployment, from the file's [[table]] and from context."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dynamirror.deployment.aws_names import KEY_ARN
from dynamirror.deployment.overrides import Override
from dynamirror.errors import ConfigError
from dynamirror.views.mirror_toml import TableSpec

_DEMO_KEYS: Final = {"id": "S"}
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_MAX_KEYS: Final = 2
# Functions learn the names from their environment, which Lambda limits to 4 KB.
_MAX_LETTERS: Final = 3_000


class DeployedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the mirror.

    Args:
        name: name of the table; None for a created one that CloudFormation names.
        keys: names of the key attributes, partition key first.
        types: types of the key attributes, where declared.
        stream_arn: ARN of the stream of an existing table; None to create the table.
        view_type: view type of the stream.
        kms_key_arn: ARN of the customer-managed KMS key that encrypts an existing table.
    """

    name: str | None = None
    keys: tuple[str, ...]
    types: tuple[str, ...] | None = None
    stream_arn: str | None = None
    view_type: str = "NEW_AND_OLD_IMAGES"
    kms_key_arn: str | None = None

    @property
    def arn(self) -> str | None:
        """Return the ARN of an existing table."""
        return self.stream_arn and self.stream_arn.partition("/stream/")[0]


def read_tables(
    specs: tuple[TableSpec, ...], override: Override, source: str
) -> tuple[DeployedTable, ...]:
    """Return the tables of a deployment; the demo's if there is no other.

    Args:
        specs: the file's tables.
        override: values of context.
        source: name of the file.

    Raises:
        ConfigError: a table is wrong, or one stack cannot have all of them.
    """
    option = _option(override.table)
    tables = []
    for index, spec in enumerate(specs):
        values = option if option.get("name") == spec.name else {}
        tables.append(_table(spec, values, f"{source}: table[{index}]"))
    if option and option["name"] not in [table.name for table in tables]:
        if tables:
            raise ConfigError(
                f"context: tableArn: {source} has no [[table]] named {option['name']!r}; add one"
            )
        if "keys" not in option:
            raise ConfigError("context: tableArn needs streamArn and keys, as in -c keys=pk,sk")
        return (DeployedTable(**option),)
    _check_place(tables, source)
    _check_length(tables, source)
    return tuple(tables) or (
        DeployedTable(keys=tuple(_DEMO_KEYS), types=tuple(_DEMO_KEYS.values())),
    )


def _table(spec: TableSpec, option: Mapping[str, Any], place: str) -> DeployedTable:
    """Return one table of the file, with the values of context if they are for it."""
    if spec.stream_arn is None and not spec.create and not option:
        raise ConfigError(
            f"{place}.stream_arn: is missing; set it to the ARN of the stream of table "
            f"{spec.name}, or set create = true for a new table"
        )
    if not _NAME.fullmatch(spec.name):
        raise ConfigError(
            f"{place}.name: must be 3 to 255 letters, digits, dots, dashes and underscores, not "
            f"{spec.name!r}"
        )
    key = spec.kms_key_arn
    _check_key_arn(key, f"{place}.kms_key_arn")
    if key is not None and spec.create and not option:
        raise ConfigError(f"{place}.kms_key_arn: applies only with stream_arn")
    table = DeployedTable(
        name=spec.name,
        keys=tuple(spec.keys),
        types=tuple(spec.keys.values()),
        stream_arn=spec.stream_arn,
        view_type=spec.view_type,
        kms_key_arn=key,
    )
    return msgspec.structs.replace(table, **option)


def _option(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of context after checking them.

    Raises:
        ConfigError: a value is wrong.
    """
    keys = table.get("keys")
    if keys is not None and not 1 <= len(set(keys)) == len(keys) <= _MAX_KEYS:
        raise ConfigError(
            "context: keys: must be the partition key and, if there is one, the sort key, as in "
            f"-c keys=pk,sk, not {','.join(keys)!r}"
        )
    _check_key_arn(table.get("kms_key_arn"), "context: tableKeyArn")
    return table


def _check_key_arn(arn: str | None, place: str) -> None:
    if arn is not None and not re.fullmatch(KEY_ARN, arn):
        raise ConfigError(
            f"{place}: must be an ARN like arn:aws:kms:REGION:ACCOUNT:key/ID, not {arn!r}"
        )


def _check_place(tables: list[DeployedTable], source: str) -> None:
    """Check that all existing tables are in one account and region.

    Raises:
        ConfigError: they are in several.
    """
    arns = [table.arn for table in tables if table.arn]
    for arn in arns[1:]:
        if arn.split(":")[3:5] != arns[0].split(":")[3:5]:
            raise ConfigError(
                f"{source}: table[].stream_arn: {arns[0]} and {arn} differ in region or account, "
                "and a stack has one of each; describe the other table in a mirror of its own"
            )


def _check_length(tables: list[DeployedTable], source: str) -> None:
    letters = sum(len(table.name or "") for table in tables)
    if letters > _MAX_LETTERS:
        raise ConfigError(
            f"{source}: table[].name: the names of {len(tables)} tables have {letters} letters "
            f"together, and functions take {_MAX_LETTERS}; divide the tables among mirrors"
        )
