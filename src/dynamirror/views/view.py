"""Views: how the items of a table become entries of the cache."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, Self

import msgspec

from dynamirror.errors import ConfigError, KeyTooLongError
from dynamirror.records.attribute_value import AttributeValue, Item
from dynamirror.records.stream_record import Change, check_view_type
from dynamirror.views.board import Board
from dynamirror.views.collection import Collection
from dynamirror.views.condition import Condition, parse, path, pinned
from dynamirror.views.encoding import DYNAMODB_JSON, JSON, Encoding, ValueType
from dynamirror.views.index import Index, IndexSpec
from dynamirror.views.key_spaces import KeySpace, check_apart
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.order import Members, Order, identifier
from dynamirror.views.projection import Projection
from dynamirror.views.schema import Schema as Schema  # noqa: PLC0414 - for all who import it from here


class View(msgspec.Struct, frozen=True):
    """A view bound to a table.

    Args:
        name: what messages call it.
        schema: the table.
        template: the key template.
        encoding: how items are written.
        key_of: item to key, or None where the item lacks an attribute; raises RecordError.
        needs_old_image: whether an item's key can change, so that the old one must be known.
        exclusive: whether every key of the cache is this view's.
        when: which items it is for; None for all.
        make: what of an item is written; None for all of it.
        ttl: finds the attribute with the time of expiry; None for never.
        members: the sorted sets of its entries; None for none.
        pinned: texts of primary-key attributes that the key does not name.
        attributes: all that is needed of an item; None for the whole of it.
        fingerprint: of all that decides what is written.
        is_static: whether every item has its entry under one key as long as there is the item.
    """

    name: str
    schema: Schema
    template: KeyTemplate
    encoding: Encoding
    key_of: Callable[[Item], str | None]
    needs_old_image: bool
    exclusive: bool = False
    when: Condition | None = None
    make: Callable[[Item], Item] | None = None
    ttl: Callable[[Item], AttributeValue | None] | None = None
    members: Members | None = None
    pinned: Mapping[str, str] = {}
    attributes: frozenset[str] | None = None
    fingerprint: str = ""
    is_static: bool = False

    @property
    def collection(self) -> Collection | Index | None:
        """The sorted sets that a query can read; None for none."""
        return None if isinstance(self.members, Board) else self.members

    @property
    def index(self) -> Index | None:
        """The index of other attributes than the table's key that a query names; None for none."""
        is_exact = self.encoding is DYNAMODB_JSON  # no other keeps the types
        return self.members if isinstance(self.members, Index) and is_exact else None

    @property
    def board(self) -> Board | None:
        """The sorted sets in the order of a number; None for none."""
        return self.members if isinstance(self.members, Board) else None

    def render(self, item: Item) -> str | None:
        """Return the key of an item's entry, or None if the view has none for it.

        Raises:
            RecordError: an attribute cannot stand in a key.
        """
        if self.when is not None and not self.when.holds(item):
            return None
        if self.members is not None and not self.members.holds(item):
            return None
        return self.key_of(item)

    def possible_key(self, keys: Item) -> str | None:
        """Return the key of the entry that an item may have; None if it cannot have one.

        A key that is too long is no possible one.

        Args:
            keys: the item's primary key, which is all that is known of it.

        Raises:
            RecordError: an attribute cannot stand in a key.
        """
        if self.when is not None and not self.when.may_hold(keys, self.schema.keys):
            return None
        try:
            return self.key_of(keys)
        except KeyTooLongError:
            return None

    def encode(self, item: Item) -> bytes | None:
        """Return the value of an item's entry, or None if the view has none for it.

        Raises:
            RecordError: the item cannot be written.
        """
        if self.make is not None:
            item = self.make(item)
            if not item and self.encoding.layout is ValueType.HASH:
                return None  # there is no hash without a field
        return self.encoding.encode(item)

    def expires(self, item: Item) -> int | None:
        """Return when an item's entry expires, in whole seconds since 1970; None for never.

        As in DynamoDB, an attribute that is no number means never.
        """
        value = self.ttl(item) if self.ttl else None
        digits = value.get("N") if isinstance(value, Mapping) else None
        try:
            seconds = Decimal(digits) if isinstance(digits, str) else None
        except ArithmeticError:
            return None
        # Valkey refuses what it cannot count in milliseconds; that far away is never.
        if seconds is None or not seconds.is_finite() or seconds >= _NEVER:
            return None
        return max(int(seconds), 1) if seconds > 0 else 1

    @property
    def owns_its_keys(self) -> bool:
        """Return whether a key that fits is surely the mirror's, and not another application's."""
        return self.exclusive or bool(self.template.prefix)

    def identifier(self) -> Callable[[str], Item | None]:
        """Return a function from an entry's key to its item's primary key, or None.

        With it come the other attributes that place the entry in a sorted set. The types of the
        table's key attributes must be known.
        """
        return identifier(
            self.template, self.schema, self.pinned, is_placed=self.members is not None
        )


_NEVER = 10**11


class ViewSpec(msgspec.Struct, frozen=True):
    """A view as the user writes it, before it has met its table.

    Args:
        name: what messages call it.
        table: the table it is for; None means any.
        key: the key template; None means `{table}:` and the table's key attributes.
        encoding: how items are written.
        exclusive: whether the cache holds nothing but this mirror, so that a key without a prefix
            of its own is known to be the view's.
        when: which items it is for, as TOML has it; None for all (see `condition.parse`).
        projection: what of an item is written.
        ttl: the attribute with the time of expiry; None for none.
        collection: whether the entries of one partition key can be read in order.
        index: the attributes by which the entries can be read instead; None for none.
        score: the attribute with the number that orders the entries; None for none.
        max_key_bytes: the length of the longest key that the cache takes; None for any. The
            settings decide it, and no file.
    """

    name: str = "default"
    table: str | None = None
    key: str | None = None
    encoding: Encoding = JSON
    exclusive: bool = False
    when: Mapping[str, Any] | None = None
    projection: Projection = Projection()
    ttl: str | None = None
    collection: bool = False
    index: IndexSpec | None = None
    score: str | None = None
    max_key_bytes: int | None = None

    def bind(self, schema: Schema) -> View:
        """Fit the view to a table.

        Raises:
            ConfigError: the view's keys could belong to two items of that table.
        """
        order = self.order
        text = self.key or order.default_key(schema.keys)
        try:
            order.check(schema.keys, self.projection)
            template = KeyTemplate.parse(text, table=schema.table, typed=order.typed(schema.keys))
            when = parse(self.when, keys=schema.keys) if self.when is not None else None
            key_of = template.renderer(schema.keys, max_key_bytes=self.max_key_bytes)
            members = order.members(template, schema, key_of)
        except ConfigError as error:
            raise ConfigError(f"view {self.name}: {error}") from None
        constant = pinned(when)
        missing = [name for name in schema.keys if name not in template.names + tuple(constant)]
        if missing:
            raise ConfigError(
                f"view {self.name}: key {text!r} leaves out {' and '.join(missing)} of the primary "
                f"key of table {schema.table}, so two items could meet in one entry; add "
                + " and ".join(f"{{{name}}}" for name in missing)
                + ", or hold it to one text with `when`"
            )
        return View(
            name=self.name,
            schema=schema,
            template=template,
            encoding=self.encoding,
            key_of=key_of,
            needs_old_image=not set(template.names) <= set(schema.keys),
            exclusive=self.exclusive,
            when=when,
            make=order.completed(self.projection, schema.keys).projector(),
            ttl=path(self.ttl, schema.keys) if self.ttl else None,
            members=members,
            pinned={name: text for name, text in constant.items() if name in schema.keys},
            attributes=self._attributes(template, when, schema),
            fingerprint=self._fingerprint(template),
            is_static=(
                when is None and self.score is None and set(template.names) <= set(schema.keys)
            ),
        )

    @property
    def order(self) -> Order:
        """How the entries are read in order."""
        return Order(self.name, self.index, self.score, is_collection=self.collection)

    def _attributes(
        self, template: KeyTemplate, when: Condition | None, schema: Schema
    ) -> frozenset[str] | None:
        """Return all attributes that the view needs; None for the whole item."""
        back = {new: old for old, new in self.projection.rename.items()}
        needed = self.encoding.attributes
        if needed is not None:
            # An item without the old name shows what it has under the new one.
            needed = needed | {back[name] for name in needed if name in back}
        elif self.projection.include is not None:
            needed = self.projection.include
        if needed is None:
            return None
        asked = {
            *template.names,
            *(when.names() if when else ()),
            *((self.ttl,) if self.ttl else ()),
            *((self.score,) if self.score else ()),
        }
        # What leads into maps needs the whole first one; an item's own name may have dots, too.
        first = {name if name in schema.keys else name.split(".")[0] for name in asked}
        return needed | first | set(schema.keys)

    def _fingerprint(self, template: KeyTemplate) -> str:
        projection = self.projection
        written = (
            template.literals,
            template.names,
            self.encoding.name,
            sorted(self.encoding.attributes or ()),
            self.when,
            None if projection.include is None else sorted(projection.include),
            sorted(projection.exclude),
            sorted(projection.rename.items()),
            sorted((name, sorted(value.items())) for name, value in projection.constants.items()),
            self.ttl,
            self.collection,
        )
        # Without these, a view's fingerprint is as it was before there were any.
        text = repr(written) + (repr((self.index, self.score)) if self.index or self.score else "")
        return sha256(text.encode()).hexdigest()[:16]


class Views:
    """Binds all views of one cache to their tables when a table's first change arrives.

    Args:
        specs: what the user wrote.
        schema_of: returns a table's schema for its name and the key attributes in its records
            (none if they differ); raises ConfigError or SourceError if it cannot.
    """

    def __init__(
        self,
        specs: Sequence[ViewSpec],
        schema_of: Callable[[str, frozenset[str]], Schema],
    ) -> None:
        self._specs = tuple(specs)
        self._schema_of = schema_of
        self._bound: dict[str, tuple[View, ...]] = {}

    @classmethod
    def for_schema(cls, specs: Sequence[ViewSpec], schema: Schema) -> Self:
        """Return the views of one table, whose schema is known."""
        return cls(specs, lambda _table, _keys: schema)

    def of_change(self, change: Change) -> tuple[View, ...]:
        """Return the views of the change's table.

        Raises:
            ConfigError: no view is for that table, or one does not fit it.
        """
        views = self._bound.get(change.table)
        if views is None:
            views = self.meet(change.table, frozenset(change.keys))
        return views

    def meet(self, table: str, keys: frozenset[str]) -> tuple[View, ...]:
        """Bind the views of a table again, and return them.

        Args:
            table: the table's name.
            keys: the key attributes that its records name; none if they differ.

        Raises:
            ConfigError: no view is for that table, or one does not fit it.
            SourceError: the table had to be asked for its key, and cannot be.
        """
        return self.bind(self._schema_of(table, keys))

    def bound(self, table: str) -> tuple[View, ...] | None:
        """Return the views of a table, if they are bound."""
        return self._bound.get(table)

    def bind(self, schema: Schema) -> tuple[View, ...]:
        """Fit all views of a table to it, once, and again if it was recreated with another key.

        Raises:
            ConfigError: no view is for that table, one does not fit, or keys of two could meet.
        """
        held = self._bound.get(schema.table)
        if held is not None and not _is_other_key(held[0].schema, schema):
            return held
        views = tuple(s.bind(schema) for s in self._specs if s.table in (None, schema.table))
        if not views:
            known = ", ".join(sorted({s.table for s in self._specs if s.table}))
            raise ConfigError(
                f"no view is for table {schema.table} (there are views for {known}); add a [[view]]"
            )
        others = [
            view
            for table, bound in list(self._bound.items())
            if table != schema.table
            for view in bound
        ]
        for index, view in enumerate(views):
            for other in (*others, *views[:index]):
                check_apart(_key_space(view), _key_space(other))
        self._bound[schema.table] = views
        return views


def _is_other_key(one: Schema, two: Schema) -> bool:
    """Return whether the names or the types differ, as far as the types are known."""
    return one.keys != two.keys or bool(one.types and two.types and one.types != two.types)


def bind_views(specs: Sequence[ViewSpec], schema: Schema) -> tuple[View, ...]:
    """Bind the views that are for a table, and return them.

    Raises:
        ConfigError: no view is for that table, one does not fit, or keys of two could meet.
    """
    return Views.for_schema(specs, schema).bind(schema)


def fingerprint(views: Sequence[View]) -> str:
    """Return a text that differs when the views write different entries."""
    written = sorted(view.fingerprint for view in views)
    return sha256(repr(written).encode()).hexdigest()[:16]


def check_stream(views: Sequence[View], view_type: str, table: str) -> None:
    """Refuse a stream that cannot feed the views.

    Raises:
        ConfigError: it does not carry the images that they need.
    """
    needs_old_image = any(view.needs_old_image for view in views)
    check_view_type(view_type, table, needs_old_image=needs_old_image)


def _key_space(view: View) -> KeySpace:
    return KeySpace.of(view.name, view.schema.table, view.template)
