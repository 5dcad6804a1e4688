"""A table's key schema: from the environment, its records, or DescribeTable."""

from contextlib import suppress

from dynamirror.errors import ConfigError, SourceError
from dynamirror.settings import Settings, source_of
from dynamirror.views.view import Schema


def key_schema(settings: Settings, table: str, keys: frozenset[str]) -> Schema:
    """Find out which of a table's key attributes is the partition key.

    Args:
        settings: the settings, which may declare it.
        table: the table's name.
        keys: the key attributes that its records name; none if they differ.

    Raises:
        ConfigError: the records and the table contradict what is declared.
        SourceError: the table has to be asked, and cannot be.
    """
    declared = settings.declared_schema(table)
    if declared is None:
        return Schema(table, tuple(keys)) if len(keys) == 1 else _described(table)
    if keys and set(declared.keys) != keys and not _is_true(declared):
        where = "environment: DYNAMIRROR_KEY_SCHEMA"
        if declared.types:  # only a file declares them
            where = f"{source_of(settings.config or '')}: [[table]] {table}: keys"
        raise ConfigError(
            f"{where}: says {', '.join(declared.keys)}, but the key of table {table} is "
            f"{' and '.join(sorted(keys))}"
        )
    return declared


def _is_true(declared: Schema) -> bool:
    """Return whether a table really has the declared key; False if it cannot be described."""
    with suppress(SourceError):
        return _described(declared.table).keys == declared.keys
    return False


def _described(table: str) -> Schema:
    # boto3 takes long to import, and is needed only for what was not declared.
    from dynamirror.dynamodb.client import Aws, describe_schema  # noqa: PLC0415

    return describe_schema(Aws.from_env().dynamodb(), table)[0]
