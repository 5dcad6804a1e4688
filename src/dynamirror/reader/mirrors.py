"""The tables that a cache mirrors, and which of their views answers which read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

from dynamirror.errors import ConfigError
from dynamirror.reader.completeness_check import CompletenessCheck
from dynamirror.records.attribute_value import Item
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import Schema, View, fingerprint

OnMiss = Literal["table", "absent"]
ON_MISS: Final[tuple[OnMiss, ...]] = ("table", "absent")


class MirroredTable:
    """A table, and how its mirror answers reads of it.

    Args:
        schema: the table, with the types of its keys.
        views: all views of the table that the cache holds, bound to it.
        arn: the table's ARN, by which requests may name it; empty where it is not known.
        view: name of the view that answers all reads but those of an index, whatever it makes of
            an item; None for the views that keep items as they are.
        on_miss: what an entry that the cache lacks means: the `table` is asked, or the item is
            `absent`, which is believed only while the mirror is complete.
        min_time: from an item's primary key, returns the time of a write that must be visible, in
            seconds since 1970, or None. For a query, from the partition key alone, or an index's:
            a query with such a time is passed on, since no entry shows what is still to come.

    Raises:
        ConfigError: there is no such view, or it cannot answer reads.
    """

    def __init__(
        self,
        schema: Schema,
        views: Sequence[View],
        *,
        arn: str = "",
        view: str | None = None,
        on_miss: OnMiss = "table",
        min_time: Callable[[Item], float | None] | None = None,
    ) -> None:
        if on_miss not in ON_MISS:
            raise ConfigError(f"on_miss: must be 'table' or 'absent', not {on_miss!r}")
        self.schema = schema
        self.arn = arn
        self.views = tuple(views)
        self.fingerprint = fingerprint(views)
        self.absent = on_miss == "absent"
        self.min_time = min_time
        self.check = CompletenessCheck(schema.table, self.fingerprint)
        self.indexes: Mapping[str, View] = index_views(views)
        candidates = [one for one in views if one.name not in self.indexes]
        if view is None:
            candidates = [one for one in candidates if is_exact(one)]
        else:
            candidates = [named_view(candidates, view)]
            if candidates[0].encoding is not DYNAMODB_JSON:
                raise ConfigError(
                    f"view {view}: its encoding, {candidates[0].encoding.name}, keeps no types, so "
                    "that it cannot answer as DynamoDB does; use dynamodb-json"
                )
        # The view that surely has an item, if any, comes first.
        self.by_key = min(candidates, key=_doubts, default=None)
        self.by_order = next(
            (one for one in candidates if one.collection and (view or one.when is None)), None
        )


class Mirrors:
    """Finds a mirrored table by the name or the ARN that a request has.

    Args:
        tables: the tables.
    """

    def __init__(self, tables: Iterable[MirroredTable]) -> None:
        self._tables: dict[str, MirroredTable] = {}
        for table in tables:
            self._tables[table.schema.table] = table
            if table.arn:
                self._tables[table.arn] = table

    def find(self, name: object) -> MirroredTable | None:
        """Return the table of a name or an ARN; None if the mirror has none."""
        return self._tables.get(name) if isinstance(name, str) else None


def is_exact(view: View) -> bool:
    """Return whether the view keeps its items just as they are, found by their primary keys."""
    return view.encoding is DYNAMODB_JSON and view.make is None and not view.needs_old_image


def index_views(views: Sequence[View]) -> dict[str, View]:
    """Return the views that are indexes of other attributes than the primary key, by name."""
    return {view.name: view for view in views if view.index is not None}


def named_view(views: Sequence[View], name: str | None) -> View:
    """Return the view of a name, or the only one.

    Raises:
        ConfigError: there is none, or its entries cannot be found by primary key.
    """
    known = [view for view in views if name in (None, view.name)]
    if len(known) != 1:
        names = ", ".join(view.name for view in views)
        raise ConfigError(f"view: must be one of {names}, not {name!r}")
    (view,) = known
    if view.needs_old_image:
        raise ConfigError(
            f"view {view.name}: its keys name more than the primary key, so that its entries "
            "cannot be found by that; read another view"
        )
    return view


def _doubts(view: View) -> tuple[bool, bool, bool]:
    """Sort the views that have every item, for ever, to the front."""
    return view.when is not None, view.ttl is not None, view.collection is None
