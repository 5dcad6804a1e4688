"""The key schema of a table."""

from collections.abc import Iterable

import msgspec

from dynamirror.records.attribute_value import Item


class Schema(msgspec.Struct, frozen=True):
    """A table's name and its primary-key attributes, partition key first.

    Args:
        table: the table's name.
        keys: the attributes' names.
        types: their types, S, N or B; empty where they are not known.
        indexed: names and types of the other attributes that are keys of the table's own indexes;
            empty where they are not known.
        local_indexes: names of the local ones among these indexes.
    """

    table: str
    keys: tuple[str, ...]
    types: tuple[str, ...] = ()
    indexed: tuple[tuple[str, str], ...] = ()
    local_indexes: tuple[str, ...] = ()

    def key_of(self, item: Item) -> Item:
        """Return an item's primary key."""
        return {name: item[name] for name in self.keys}

    @property
    def scalars(self) -> tuple[str, ...]:
        """Return the attributes that are known to be keys of the table or of an index."""
        return (*self.keys, *(name for name, _ in self.indexed))

    def types_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the declared types of attributes; empty where they are not known."""
        known = dict(zip(self.keys, self.types, strict=False)) | dict(self.indexed)
        return tuple(known.get(name, "") for name in names)
