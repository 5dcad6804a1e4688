"""Views: how the items of a table become entries of the cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from dynamirror.attributes import Item
from dynamirror.change import Change, check_view_type
from dynamirror.encoding import JSON, Encoding
from dynamirror.errors import ConfigError
from dynamirror.key import KeyTemplate


@dataclass(frozen=True, slots=True)
class Schema:
    """A table's name and its primary-key attributes, partition key first.

    Args:
        table: the table's name.
        keys: the attributes' names.
        types: their types, S, N or B; empty where they are not known.
    """

    table: str
    keys: tuple[str, ...]
    types: tuple[str, ...] = ()

    def key_of(self, item: Item) -> Item:
        """An item's primary key."""
        return {name: item[name] for name in self.keys}


@dataclass(frozen=True, slots=True)
class View:
    """A view bound to a table.

    Args:
        name: what messages call it.
        schema: the table.
        template: the key template.
        encoding: how items are written.
        render: item to key, or None where the item lacks an attribute; raises RecordError.
        needs_old_image: whether an item's key can change, so that the old one must be known.
        exclusive: whether every key of the cache is this view's.
    """

    name: str
    schema: Schema
    template: KeyTemplate
    encoding: Encoding
    render: Callable[[Item], str | None]
    needs_old_image: bool
    exclusive: bool = False

    @property
    def attributes(self) -> frozenset[str] | None:
        """All that is needed of an item; None for the whole of it."""
        needed = self.encoding.attributes
        return None if needed is None else needed | {*self.template.names, *self.schema.keys}

    @property
    def owns_its_keys(self) -> bool:
        """Whether a key that fits is surely the mirror's, and not another application's."""
        return self.exclusive or bool(self.template.prefix)

    def identifier(self) -> Callable[[str], Item | None]:
        """The function that tells from an entry's key the primary key of its item, or None.

        The types of the table's key attributes must be known.
        """
        types = dict(zip(self.schema.keys, self.schema.types, strict=True))
        return self.template.reader(types)


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """A view as the user writes it, before it has met its table.

    Args:
        name: what messages call it.
        table: the table it is for; None means any.
        key: the key template; None means `{table}:` and the table's key attributes.
        encoding: how items are written.
        exclusive: whether the cache holds nothing but this mirror, so that a key without a prefix
            of its own is known to be the view's.
    """

    name: str = "default"
    table: str | None = None
    key: str | None = None
    encoding: Encoding = JSON
    exclusive: bool = False

    def bind(self, schema: Schema) -> View:
        """Fit the view to a table.

        Raises:
            ConfigError: the view's keys could belong to two items of that table.
        """
        text = self.key or "{table}:" + ":".join(f"{{{name}}}" for name in schema.keys)
        try:
            template = KeyTemplate.parse(text, table=schema.table)
        except ConfigError as error:
            raise ConfigError(f"view {self.name}: {error}") from None
        missing = [name for name in schema.keys if name not in template.names]
        if missing:
            raise ConfigError(
                f"view {self.name}: key {text!r} leaves out {' and '.join(missing)} of the primary "
                f"key of table {schema.table}, so two items could meet in one entry; add "
                + " and ".join(f"{{{name}}}" for name in missing)
            )
        return View(
            name=self.name,
            schema=schema,
            template=template,
            encoding=self.encoding,
            render=template.renderer(),
            needs_old_image=not set(template.names) <= set(schema.keys),
            exclusive=self.exclusive,
        )


class Views:
    """All views of one cache, bound to their tables as these are met.

    Args:
        specs: what the user wrote.
        schema_of: tells a table's schema from its name and the key attributes of one of its
            records; raises ConfigError if it cannot.
    """

    def __init__(
        self,
        specs: Sequence[ViewSpec],
        schema_of: Callable[[str, frozenset[str]], Schema],
    ) -> None:
        self._specs = tuple(specs)
        self._schema_of = schema_of
        self._bound: dict[str, tuple[View, ...]] = {}

    def of_change(self, change: Change) -> tuple[View, ...]:
        """The views of the change's table.

        Raises:
            ConfigError: no view is for that table, or one does not fit it.
        """
        views = self._bound.get(change.table)
        if views is None:
            views = self.bind(self._schema_of(change.table, frozenset(change.keys)))
        return views

    def bound(self, table: str) -> tuple[View, ...] | None:
        """The views of a table, if it has been met."""
        return self._bound.get(table)

    def bind(self, schema: Schema) -> tuple[View, ...]:
        """Fit all views of a table to it, once.

        Raises:
            ConfigError: no view is for that table, one does not fit, or keys of two could meet.
        """
        if schema.table in self._bound:
            return self._bound[schema.table]
        mine = tuple(s.bind(schema) for s in self._specs if s.table in (None, schema.table))
        if not mine:
            known = ", ".join(sorted({s.table for s in self._specs if s.table}))
            raise ConfigError(
                f"no view is for table {schema.table} (there are views for {known}); add a [[view]]"
            )
        others = [view for views in self._bound.values() for view in views]
        for index, view in enumerate(mine):
            for other in (*others, *mine[:index]):
                _check_apart(view, other)
        self._bound[schema.table] = mine
        return mine


def fingerprint(views: Sequence[View]) -> str:
    """What tells whether entries were written by the same views."""
    written = [
        (
            view.template.literals,
            view.template.names,
            view.encoding.name,
            sorted(view.encoding.attributes or ()),
        )
        for view in views
    ]
    return sha256(repr(sorted(written)).encode()).hexdigest()[:16]


def check_stream(views: Sequence[View], view_type: str, table: str) -> None:
    """Refuse a stream that cannot feed the views.

    Raises:
        ConfigError: it does not carry the images that they need.
    """
    needs_old_image = any(view.needs_old_image for view in views)
    check_view_type(view_type, table, needs_old_image=needs_old_image)


def _check_apart(view: View, other: View) -> None:
    one, two = view.template.prefix, other.template.prefix
    if one.startswith(two) or two.startswith(one):
        raise ConfigError(
            f"views {other.name} (table {other.schema.table}) and {view.name} (table "
            f"{view.schema.table}) could both write one key, as {two!r} and {one!r} do not differ; "
            "begin their keys with different words"
        )
