"""What a `Reader`'s GetItem or BatchGetItem returns of its items, and reports of their cost."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dynamirror.errors import ConfigError, NotUnderstoodError
from dynamirror.expressions import Projection, read_projection
from dynamirror.reader.arguments import on_the_wire
from dynamirror.reader.capacity import consumed, units
from dynamirror.reader.getting import Answer
from dynamirror.reader.requests import capacity_kind
from dynamirror.reader.sizes import item_size, typed_size
from dynamirror.reader.source import Source
from dynamirror.reader.values import Values, values_of


class Selection(NamedTuple):
    """The parts of items to return, and the report of the capacity.

    Args:
        projection: the parts; None for whole items.
        kind: how the consumed capacity is to be reported; None for not at all.
        typed: whether items are read in DynamoDB JSON.
    """

    projection: Projection | None = None
    kind: str | None = None
    typed: bool = False

    def shown(self, item: Any) -> Values | None:
        """Return an item with values of Python; raises NotUnderstoodError if it has odd ones."""
        if item is None or not self.typed:
            return item  # type: ignore[no-any-return]
        return values_of(item if self.projection is None else self.projection.of(item))

    def charged(self, answer: Answer) -> float:
        """Return the units that DynamoDB would have charged, or has charged, for an answer."""
        size = 0
        if answer.item is not None:
            size = typed_size(answer.item) if self.typed else item_size(answer.item)
        return units(size) * (2 if answer.source == "table" else 1)

    def consumed(self, table: str, answers: list[Answer]) -> Any:
        """Return `ConsumedCapacity` of answers; None if it is not asked for."""
        if self.kind is None:  # measuring takes longer than reading
            return None
        return consumed(self.kind, table, sum(map(self.charged, answers)))


def selection(source: Source, given: Mapping[str, Any]) -> Selection | None:
    """Return what a request selects; None if that is not understood.

    Args:
        source: the view.
        given: the request's arguments for that, none of which is None.

    Raises:
        ConfigError: the view keeps no types, which the request needs.
        ValueError: a text is not valid Unicode.
    """
    try:
        body = on_the_wire(given)
        projection, kind = read_projection(body), capacity_kind(body)
    except NotUnderstoodError:
        return None
    if projection and not source.is_typed:
        raise ConfigError(
            f"view {source.view.name}: its encoding, {source.view.encoding.name}, keeps no types, "
            "which projections need; use dynamodb-json"
        )
    typed = source.is_typed and (projection is not None or kind is not None)
    return Selection(projection, kind, typed)
