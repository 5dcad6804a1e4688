"""The tables of a mirror: their keys, their streams, and what the views need of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from aws_cdk import Stack, Token
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_

from dynamirror.errors import ConfigError
from dynamirror.settings import load_tables, load_views
from dynamirror.views.event_filter import patterns
from dynamirror.views.mirror_toml import check_views
from dynamirror.views.view import Schema, Views

# Placeholder for a table name that CloudFormation only knows after it creates the table.
UNNAMED = "dynamirror_unnamed_table"
# What a list of keys in DYNAMIRROR_KEY_SCHEMA cannot hold.
_OF_THE_LIST = frozenset(", {")


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredTable:
    """Describe a table to mirror, new or existing.

    Args:
        table: table with its stream; for an existing one,
            `Table.from_table_attributes(..., table_arn=..., table_stream_arn=...)`.
        keys: names of the key attributes, partition key first.
        view_type: view type of the stream.
    """

    table: dynamodb.ITable
    keys: tuple[str, ...]
    view_type: dynamodb.StreamViewType = dynamodb.StreamViewType.NEW_AND_OLD_IMAGES

    @classmethod
    def from_table(cls, table: dynamodb.ITable) -> Self:
        """Describe a `Table` or `TableV2` of this app by its own keys and view type.

        Raises:
            ConfigError: the table belongs to no stack of this app, or has no stream.
        """
        resource = table.node.default_child
        if not isinstance(resource, dynamodb.CfnTable | dynamodb.CfnGlobalTable):
            raise ConfigError(
                f"table {table.node.path}: belongs to no stack of this app, which therefore does "
                "not know its keys; describe it as MirroredTable(table=..., keys=...)"
            )
        # The typed properties of a TableV2 cannot be read in Python.
        properties = Stack.of(resource).resolve(resource._cfn_properties)  # noqa: SLF001
        stream = properties.get("streamSpecification")
        if stream is None:
            raise ConfigError(
                f"table {table.node.path}: has no stream; set stream, or dynamo_stream of a "
                "TableV2, to StreamViewType.NEW_AND_OLD_IMAGES"
            )
        keys = sorted(properties["keySchema"], key=lambda key: str(key["keyType"]))  # HASH first
        return cls(
            table=table,
            keys=tuple(key["attributeName"] for key in keys),
            view_type=dynamodb.StreamViewType[stream["streamViewType"]],
        )

    @property
    def name(self) -> str | None:
        """Return the name of the table, or None if CloudFormation chooses it."""
        name: str | None = self.table.table_name
        if Token.is_unresolved(name):
            # A table of this app refers to itself, even if the app names it.
            resource = self.table.node.default_child
            name = getattr(resource, "table_name", None)
        return None if name is None or Token.is_unresolved(name) else name

    @property
    def schema(self) -> Schema:
        """Return the schema that views use, with a placeholder for an unknown name."""
        return Schema(self.name or f"{UNNAMED}_{self.table.node.addr}", self.keys)

    def key_patterns(self, config: str | None) -> tuple[str, ...]:
        """Return the glob patterns of the keys that the views of a `mirror.toml` write.

        Raises:
            ConfigError: a view is malformed, does not fit the table, or the stream cannot feed it.
        """
        views, schema = load_views(config), self.schema
        globs = check_views(views, schema.table, self.keys, self.view_type.value)
        if self.name is not None:
            return globs
        return tuple(glob.replace(schema.table, self.table.table_name) for glob in globs)

    def filters(self, config: str | None) -> list[Mapping[str, Any]]:
        """Return Lambda's filters for the records that the views need; none if they need all.

        Raises:
            ConfigError: a view is malformed, or does not fit the table.
        """
        return [
            lambda_.FilterCriteria.filter(pattern)
            for pattern in patterns(load_views(config), self.schema, self.view_type.value)
        ]


def check_tables(tables: Sequence[MirroredTable], config: str | None) -> tuple[str, ...]:
    """Check that the views of a `mirror.toml` fit all tables of a mirror.

    Returns:
        Glob patterns of the keys that the views write.

    Raises:
        ConfigError: there is no table, a view does not fit one, or entries of two could meet.
    """
    if not tables:
        raise ConfigError("mirror: there is no table; pass at least one")
    globs = [glob for table in tables for glob in table.key_patterns(config)]
    schemas = {table.schema.table: table.schema for table in tables}
    if len(schemas) < len(tables):
        raise ConfigError("mirror: a table is there twice; pass each once")
    views = Views(load_views(config), lambda table, _keys: schemas[table])
    for schema in schemas.values():
        views.bind(schema)
    return tuple(dict.fromkeys(globs))


def construct_ids(tables: Sequence[MirroredTable]) -> dict[str, MirroredTable]:
    """Return the tables by the ends of the ids of what each of them has.

    A known name is such an end, so that another table changes no id.
    """
    if len(tables) == 1 and tables[0].name is None:
        return {"": tables[0]}
    return {f"-{table.name or table.table.node.addr[:10]}": table for table in tables}


def declared_keys(tables: Sequence[MirroredTable], config: str | None, stack: Stack) -> str | None:
    """Return the keys of tables for DYNAMIRROR_KEY_SCHEMA; None if `mirror.toml` has them."""
    if len(tables) == 1 and not set("".join(tables[0].keys)) & _OF_THE_LIST:
        return ",".join(tables[0].keys)
    known = {table.name: tuple(table.keys) for table in load_tables(config)}
    missing = {
        table.table.table_name: list(table.keys)
        for table in tables
        if table.name is None or known.get(table.name) != table.keys
    }
    return stack.to_json_string(missing) if missing else None
