"""Parse and check a `mirror.toml`, or the `mirror.json` made from it."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.attribute_value import AttributeValue, number_text
from dynamirror.validation import Name, explain
from dynamirror.views import condition, encoding
from dynamirror.views.encoding import Encoding
from dynamirror.views.index import IndexSpec
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.keyspace import escape_glob
from dynamirror.views.projection import Projection
from dynamirror.views.view import Schema, ViewSpec, bind_views, check_stream


class _IndexTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `index` of one [[view]]."""

    partition: Name | None = None
    sort: Name | None = None

    def spec(self) -> IndexSpec:
        return IndexSpec(self.partition, self.sort)


_INDEX = msgspec.Meta(description='a table of fields, as in { partition = "customer" }')


class _ViewTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[view]] of `mirror.toml`."""

    name: Name | None = None
    table: Name | None = None
    key: Name | None = None
    encoding: Literal["json", "dynamodb-json", "hash", "attribute"] | None = None
    attribute: Name | None = None
    exclusive: bool = False
    when: dict[str, Any] | None = None
    include: Annotated[list[Name], msgspec.Meta(min_length=1)] | None = None
    exclude: list[Name] = []
    rename: dict[Name, Name] = {}
    constants: dict[Name, Any] = {}
    ttl: Name | None = None
    collection: bool = False
    index: Annotated[_IndexTable, _INDEX] | None = None
    score: Name | None = None

    def projection(self) -> Projection:
        return Projection(
            include=None if self.include is None else frozenset(self.include),
            exclude=frozenset(self.exclude),
            rename=self.rename,
            constants={name: _constant(name, value) for name, value in self.constants.items()},
        )

    def encoder(self) -> Encoding:
        match self.encoding:
            case None:
                # Queries of an index shall be answered exactly.
                is_queried = self.index is not None and self.score is None
                return encoding.DYNAMODB_JSON if is_queried else encoding.JSON
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
        self._check_order()
        self.projection()
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

    def _check_order(self) -> None:
        if self.index is None:
            if self.score is not None and not self.collection:
                raise ValueError(
                    '`score` needs the sorted set that it orders: `index = { partition = "…" }` '
                    "for one of each value, `index = {}` for one of the whole table, or "
                    "`collection = true` for one of each partition key"
                )
            return
        if self.collection:
            raise ValueError("`index` and `collection` exclude each other; give one")
        if self.name is None:
            raise ValueError("an index view is queried by its name; add `name`")
        if self.score is None and self.index.partition is None:
            raise ValueError('`index` needs a partition, as in index = { partition = "customer" }')
        if self.score is not None and self.index.sort is not None:
            raise ValueError("`score` is the order; leave out `sort` of `index`")


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
    """One [[table]] of `mirror.toml`.

    Args:
        name: the table's name.
        keys: the key attributes and their types, partition key first.
        stream_arn: for the deployment, ARN of the stream of an existing table.
        create: for the deployment, whether the stack creates the table.
        view_type: view type of the stream.
        kms_key_arn: ARN of the customer-managed KMS key that encrypts an existing table.
    """

    name: Name
    keys: Annotated[
        dict[Name, Literal["S", "N", "B"]],
        msgspec.Meta(
            min_length=1,
            max_length=2,
            description='one or two attributes and their types, as in { pk = "S", sk = "N" }',
        ),
    ]
    stream_arn: Name | None = None
    create: bool = False
    view_type: Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"] = (
        "NEW_AND_OLD_IMAGES"
    )
    kms_key_arn: Name | None = None

    def __post_init__(self) -> None:
        if self.stream_arn is None:
            return
        if self.create:
            raise ValueError("`stream_arn` names an existing table, which `create` excludes")
        if not is_stream(self.stream_arn, self.name):
            raise ValueError(
                f"stream_arn: {self.stream_arn!r} is no stream of table {self.name}; it looks like "
                f"arn:aws:dynamodb:REGION:ACCOUNT:table/{self.name}/stream/LABEL"
            )

    @property
    def schema(self) -> Schema:
        """Return the schema that views use."""
        return Schema(self.name, tuple(self.keys), tuple(self.keys.values()))


def is_stream(arn: str, table: str) -> bool:
    """Return whether a text is the ARN of the stream of a table."""
    pattern = rf"arn:[^:]+:dynamodb:[a-z0-9-]+:\d{{12}}:table/{re.escape(table)}/stream/.+"
    return re.fullmatch(pattern, arn) is not None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `mirror.toml`; `deployment.file` reads the sections that only it needs."""

    view: list[_ViewTable] = []
    table: list[TableSpec] = []
    mirror: dict[str, Any] = {}
    network: dict[str, Any] = {}
    cache: dict[str, Any] = {}
    functions: dict[str, Any] = {}
    replicator: dict[str, Any] = {}
    recovery: dict[str, Any] = {}
    audit: dict[str, Any] = {}
    canary: dict[str, Any] = {}
    inspector: dict[str, Any] = {}
    simulator: dict[str, Any] = {}
    alarms: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.view and not self.table:
            raise ValueError(
                "view: is missing; add at least one [[view]], or a [[table]] for the default view"
            )
        names = [table.name for table in self.table]
        if len(set(names)) < len(names):
            raise ValueError("two [[table]] have one name; names must differ")


def read_document(text: str, source: str) -> Any:
    """Return the content of a file as plain data: JSON if its name ends with .json, else TOML.

    Raises:
        ConfigError: the text is neither.
    """
    if source.endswith(".json"):
        try:
            return msgspec.json.Decoder(float_hook=Decimal).decode(text)
        except (msgspec.DecodeError, ArithmeticError) as error:
            raise ConfigError(f"{source}: not valid JSON: {_reason(error)}") from None
    # The functions read JSON, and their start would pay for the parser.
    import tomllib  # noqa: PLC0415

    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"{source}: not valid TOML: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    # Decimal's message is a list of classes.
    return "a number is too large" if isinstance(error, ArithmeticError) else str(error)


def _parse(text: str, source: str) -> _File:
    try:
        document = read_document(text, source)
        return msgspec.convert(document, _File)
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {explain(str(error), _File, document)}") from None


def parse_tables(text: str, source: str = "mirror.toml") -> tuple[TableSpec, ...]:
    """Read the tables of a `mirror.toml` or `mirror.json`.

    Args:
        text: content of the file.
        source: name of the file in messages; one that ends with .json holds JSON.

    Raises:
        ConfigError: the text is malformed; names the file, the field and what to do.
    """
    return tuple(_parse(text, source).table)


def parse_views(text: str, source: str = "mirror.toml") -> tuple[ViewSpec, ...]:
    """Read the views of a `mirror.toml` or `mirror.json`.

    Args:
        text: content of the file.
        source: name of the file in messages; one that ends with .json holds JSON.

    Raises:
        ConfigError: the text is malformed; names the file, the field and what to do.
    """
    tables = _parse(text, source).view or [_ViewTable()]
    specs = tuple(
        ViewSpec(
            name=table.name or (f"view {index + 1}" if len(tables) > 1 else "default"),
            table=table.table,
            key=table.key,
            encoding=table.encoder(),
            exclusive=table.exclusive,
            when=table.when,
            projection=table.projection(),
            ttl=table.ttl,
            collection=table.collection,
            index=None if table.index is None else table.index.spec(),
            score=table.score,
        )
        for index, table in enumerate(tables)
    )
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{source}: view[].name: {name!r} is used twice; names must differ")
    return specs


def to_json(text: str, source: str = "mirror.toml") -> bytes:
    """Check a `mirror.toml`, and return it as JSON, from which the same views are read faster.

    Raises:
        ConfigError: the text is malformed; names the file, the field and what to do.
    """
    parse_views(text, source)
    document = read_document(text, source)
    # What only the deployment needs stays out of the functions.
    views = {"view": document["view"]} if "view" in document else {}
    tables = [
        {name: table[name] for name in ("name", "keys")} for table in document.get("table", ())
    ]
    return msgspec.json.encode(_exact({**views, "table": tables} if tables else views))


def _exact(value: Any) -> Any:
    """Return plain data whose numbers JSON keeps digit by digit, a float as a float."""
    match value:
        case dict():
            return {name: _exact(inner) for name, inner in value.items()}
        case list():
            return [_exact(inner) for inner in value]
        case Decimal():
            number = str(value)
            # A reader of JSON takes a number without point and exponent for an integer.
            return msgspec.Raw(number if "." in number or "E" in number else f"{number}E0")
        case _:
            return value


def check_views(
    specs: Sequence[ViewSpec], table: str, keys: tuple[str, ...], view_type: str
) -> tuple[str, ...]:
    """Check before a deployment that views fit a table, and that its stream can feed them.

    Args:
        specs: the views.
        table: the table's name.
        keys: the names of the table's key attributes, partition key first.
        view_type: the view type of the table's stream.

    Returns:
        Glob patterns of the keys that the views write.

    Raises:
        ConfigError: a view does not fit the table, or the stream cannot feed it.
    """
    schema = Schema(table, keys)
    views = bind_views(specs, schema)
    check_stream(views, view_type, table)
    for view in views:
        if re.search(r"\s", view.template.prefix):
            raise ConfigError(
                f"view {view.name}: its keys begin with {view.template.prefix!r}; the cache's user "
                "cannot be granted keys with white space there"
            )
    return tuple(dict.fromkeys(f"{escape_glob(view.template.prefix)}*" for view in views))
