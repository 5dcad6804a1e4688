"""Settings from the environment, and views from `mirror.toml`: read once, checked whole."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from dynamirror import condition, encoding
from dynamirror.attributes import AttributeValue, number_text
from dynamirror.encoding import Encoding
from dynamirror.errors import ConfigError, RecordError
from dynamirror.key import KeyTemplate, glob
from dynamirror.shape import Shape
from dynamirror.view import Schema, Views, ViewSpec, check_stream

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1)]

QUARANTINE_LIMIT = 10_000

# Every command that the replicator and the operator's commands send, or that scripts call: what a
# user of least privilege must be granted (docs/security.md).
COMMANDS = (
    "asking",
    "cluster|nodes",
    "cluster|slots",
    "decrby",
    "evalsha",
    "expireat",
    "expiretime",
    "get",
    "hdel",
    "hget",
    "hgetall",
    "hkeys",
    "hlen",
    "hset",
    "incr",
    "info",
    "persist",
    "scan",
    "script|load",
    "set",
    "unlink",
    "zadd",
    "zrem",
    "zscan",
    "zscore",
)
# What an application that only reads must be granted.
READER_COMMANDS = (
    "asking",
    "cluster|slots",
    "exists",
    "get",
    "hget",
    "hgetall",
    "hmget",
    "mget",
    "readonly",
    "strlen",
    "zrange",
)

_VARIABLES = {
    "host": "ELASTICACHE_HOST",
    "port": "ELASTICACHE_PORT",
    "tls": "ELASTICACHE_TLS",
    "ca_file": "ELASTICACHE_CA_FILE",
    "user": "ELASTICACHE_USER",
    "password_file": "ELASTICACHE_PASSWORD_FILE",
    "iam_cache": "ELASTICACHE_NAME",
    "region": "AWS_REGION",
    "timeout": "ELASTICACHE_TIMEOUT",
    "fence_ttl": "DYNAMIRROR_FENCE_TTL",
    "quarantine_limit": "DYNAMIRROR_QUARANTINE_LIMIT",
    "key_schema": "DYNAMIRROR_KEY_SCHEMA",
    "config": "DYNAMIRROR_CONFIG",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=_VARIABLES.get):
    """Where the cache is and how to speak to it; the names in the environment stand beside.

    Args:
        host: ELASTICACHE_HOST, the cache's address.
        port: ELASTICACHE_PORT, the cache's port.
        tls: ELASTICACHE_TLS, whether to speak TLS and verify the certificate.
        ca_file: ELASTICACHE_CA_FILE, PEM file of an authority to trust beside the
            system's.
        user: ELASTICACHE_USER, the user to authenticate as.
        password_file: ELASTICACHE_PASSWORD_FILE, file that holds the user's password.
        iam_cache: ELASTICACHE_NAME, the cache's name; with it, authentication is by IAM.
        region: AWS_REGION, for IAM.
        timeout: ELASTICACHE_TIMEOUT, seconds to wait for one answer of the cache.
        fence_ttl: DYNAMIRROR_FENCE_TTL, seconds a fence is kept. Longer than the 24 hours that a
            stream can replay, or an old change could come back.
        quarantine_limit: DYNAMIRROR_QUARANTINE_LIMIT, items of one table that the quarantine lists;
            more are only counted.
        key_schema: DYNAMIRROR_KEY_SCHEMA, the table's key attributes, partition key first,
            separated by a comma; needed only for the default view of a table with a sort key.
        config: DYNAMIRROR_CONFIG, path of `mirror.toml`; without one the default view is used.
    """

    host: Name
    port: Port = 6379
    tls: bool = True
    ca_file: Name | None = None
    user: Name | None = None
    password_file: Name | None = None
    iam_cache: Name | None = None
    region: Name | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    fence_ttl: Annotated[int, msgspec.Meta(ge=90_000, le=31_536_000)] = 93_600
    quarantine_limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = QUARANTINE_LIMIT
    key_schema: Name | None = None
    config: Name | None = None

    def __post_init__(self) -> None:
        if self.key_schema is not None and not all(self._key_names()):
            raise ValueError(
                "DYNAMIRROR_KEY_SCHEMA holds an empty name; write the table's key attributes "
                "separated by a comma, as in pk,sk"
            )
        if self.iam_cache and not (self.user and self.region and self.tls):
            raise ValueError(
                "ELASTICACHE_NAME asks for IAM authentication, which needs ELASTICACHE_USER, "
                "AWS_REGION and TLS"
            )
        if self.user and not (self.iam_cache or self.password_file):
            raise ValueError(
                "ELASTICACHE_USER goes with ELASTICACHE_NAME (IAM) or ELASTICACHE_PASSWORD_FILE; "
                "set one"
            )
        if self.iam_cache and self.password_file:
            raise ValueError(
                "ELASTICACHE_NAME (IAM) and ELASTICACHE_PASSWORD_FILE exclude each other; unset one"
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; empty ones count as unset.

        Raises:
            ConfigError: a variable is missing or wrong; says which.
        """
        known = {name: env[name] for name in _VARIABLES.values() if env.get(name)}
        try:
            return msgspec.convert(known, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"environment: {_explain(str(error), tuple(_VARIABLES.values()))}"
            ) from None

    def to_env(self) -> dict[str, str]:
        """The environment variables that give these settings."""
        return {
            _VARIABLES[name]: str(value).lower() if isinstance(value, bool) else str(value)
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        }

    def declared_schema(self, table: str) -> Schema | None:
        """The table's schema, if DYNAMIRROR_KEY_SCHEMA tells it."""
        if self.key_schema is None:
            return None
        return Schema(table, self._key_names())

    def _key_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in (self.key_schema or "").split(","))


class _ViewTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[view]] of `mirror.toml`."""

    name: Name | None = None
    table: Name | None = None
    key: Name | None = None
    encoding: Literal["json", "dynamodb-json", "hash", "attribute"] = "json"
    attribute: Name | None = None
    exclusive: bool = False
    when: dict[str, Any] | None = None
    include: Annotated[list[Name], msgspec.Meta(min_length=1)] | None = None
    exclude: list[Name] = []
    rename: dict[Name, Name] = {}
    constants: dict[Name, Any] = {}
    ttl: Name | None = None
    collection: bool = False

    def shape(self) -> Shape:
        return Shape(
            include=None if self.include is None else frozenset(self.include),
            exclude=frozenset(self.exclude),
            rename=self.rename,
            constants={name: _constant(name, value) for name, value in self.constants.items()},
        )

    def encoder(self) -> Encoding:
        match self.encoding:
            case "json":
                return encoding.JSON
            case "dynamodb-json":
                return encoding.DYNAMODB_JSON
            case "hash":
                return encoding.HASH
            case "attribute":
                assert self.attribute is not None
                return encoding.attribute(self.attribute)

    def __post_init__(self) -> None:
        if self.encoding == "attribute" and self.attribute is None:
            raise ValueError('encoding = "attribute" needs the attribute, as in attribute = "name"')
        if self.encoding != "attribute" and self.attribute is not None:
            raise ValueError('`attribute` goes with encoding = "attribute" only')
        if self.include is not None and self.exclude:
            raise ValueError("`include` and `exclude` exclude each other; give one")
        new = list(self.rename.values())
        if len({*new, *self.constants}) < len(new) + len(self.constants):
            raise ValueError("`rename` and `constants` give two attributes one name")
        self.shape()
        if self.key is not None:
            try:
                KeyTemplate.parse(self.key, table=self.table or "table")
            except ConfigError as error:
                raise ValueError(str(error)) from None
        if self.when is not None:
            try:
                condition.parse(self.when)
            except ConfigError as error:
                raise ValueError(str(error)) from None


def _constant(name: str, value: object) -> AttributeValue:
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            try:
                return {"N": number_text(str(value))}
            except RecordError as error:
                raise ValueError(f"constants.{name}: {error}") from None
        case _:
            raise ValueError(f"constants.{name}: must be text, a number, true or false")


class TableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[table]] of `mirror.toml`: what the demo and `view check` take the table for.

    Args:
        name: of the table.
        keys: its key attributes and their types, partition key first.
    """

    name: Name
    keys: Annotated[dict[Name, Literal["S", "N", "B"]], msgspec.Meta(min_length=1, max_length=2)]

    @property
    def schema(self) -> Schema:
        """As views know it."""
        return Schema(self.name, tuple(self.keys), tuple(self.keys.values()))


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `mirror.toml`."""

    view: Annotated[list[_ViewTable], msgspec.Meta(min_length=1)]
    table: list[TableSpec] = []

    def __post_init__(self) -> None:
        names = [table.name for table in self.table]
        if len(set(names)) < len(names):
            raise ValueError("two [[table]] have one name; names must differ")


def _parse(text: str, source: str) -> _File:
    try:
        return msgspec.convert(tomllib.loads(text, parse_float=Decimal), _File)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        fields = _ViewTable.__struct_fields__ + _File.__struct_fields__
        raise ConfigError(f"{source}: {_explain(str(error), fields)}") from None


def parse_tables(text: str, source: str = "mirror.toml") -> tuple[TableSpec, ...]:
    """Read the tables of a `mirror.toml`.

    Raises:
        ConfigError: it is malformed; names the file, the field and what to do.
    """
    return tuple(_parse(text, source).table)


def parse_views(text: str, source: str = "mirror.toml") -> tuple[ViewSpec, ...]:
    """Read the views of a `mirror.toml`.

    Raises:
        ConfigError: it is malformed; names the file, the field and what to do.
    """
    tables = _parse(text, source).view
    specs = tuple(
        ViewSpec(
            name=table.name or (f"view {index + 1}" if len(tables) > 1 else "default"),
            table=table.table,
            key=table.key,
            encoding=table.encoder(),
            exclusive=table.exclusive,
            when=table.when,
            shape=table.shape(),
            ttl=table.ttl,
            collection=table.collection,
        )
        for index, table in enumerate(tables)
    )
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{source}: view[].name: {name!r} is used twice; names must differ")
    return specs


def load_views(path: str | None) -> tuple[ViewSpec, ...]:
    """Read `mirror.toml`, or give the default view if there is none to read.

    Raises:
        ConfigError: the file cannot be read or is malformed.
    """
    return (ViewSpec(),) if path is None else parse_views(_read(path), path)


def load_tables(path: str | None) -> tuple[TableSpec, ...]:
    """Read the tables of a `mirror.toml`; none if there is none to read.

    Raises:
        ConfigError: the file cannot be read or is malformed.
    """
    return () if path is None else parse_tables(_read(path), path)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None


def check_views(
    specs: Sequence[ViewSpec], table: str, keys: tuple[str, ...], view_type: str
) -> tuple[str, ...]:
    """Check, before anything is deployed, that views fit a table and its stream can feed them.

    Args:
        specs: the views.
        table: the table's name.
        keys: names of its key attributes, partition key first.
        view_type: of its stream.

    Returns:
        Glob patterns of the keys that they write.

    Raises:
        ConfigError: a view does not fit the table, or the stream cannot feed it.
    """
    schema = Schema(table, keys)
    views = Views(specs, lambda _table, _keys: schema).bind(schema)
    check_stream(views, view_type, table)
    for view in views:
        if re.search(r"\s", view.template.prefix):
            raise ConfigError(
                f"view {view.name}: its keys begin with {view.template.prefix!r}; the cache's user "
                "cannot be granted keys with white space there"
            )
    return tuple(dict.fromkeys(f"{glob(view.template.prefix)}*" for view in views))


def _explain(message: str, names: tuple[str, ...]) -> str:
    """Turn msgspec's message into one that begins with the field and ends with the fix."""
    what, _, path = message.partition(" - at `")
    where = path.rstrip("`").removeprefix("$").lstrip(".")
    if unknown := re.search(r"unknown field `(.*)`", what):
        near = difflib.get_close_matches(unknown[1], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
        field = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{field}: there is no such field; {hint}"
    if missing := re.search(r"missing required field `(.*)`", what):
        field = f"{where}.{missing[1]}" if where else missing[1]
        return f"{field}: is missing; " + (
            "add at least one [[view]]" if missing[1] == "view" else "set it"
        )
    if invalid := re.search(r"Invalid enum value (.*)", what):
        known = "S, N, B" if ".keys" in where else "json, dynamodb-json, hash, attribute"
        return f"{where}: {invalid[1]} is not one of {known}"
    what = what[0].lower() + what[1:] if what.startswith("Expected") else what
    return f"{where}: {what}" if where else what
