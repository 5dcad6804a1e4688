"""The key schema of a table."""

import msgspec

from dynamirror.records.attribute_value import Item


class Schema(msgspec.Struct, frozen=True):
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
        """Return an item's primary key."""
        return {name: item[name] for name in self.keys}
