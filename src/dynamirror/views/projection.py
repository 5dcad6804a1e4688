"""Projections: what of an item goes into its entry, and under which names."""

from collections.abc import Callable, Mapping

import msgspec

from dynamirror.records.attribute_value import AttributeValue, Item


class Projection(msgspec.Struct, frozen=True):
    """Which attributes an entry has.

    Args:
        include: only these; None for all.
        exclude: not these.
        rename: new names, by old ones; an attribute that has a new name already gives way.
        constants: attributes that every entry has, in DynamoDB JSON.
    """

    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    rename: Mapping[str, str] = {}
    constants: Mapping[str, AttributeValue] = {}

    def projector(self) -> Callable[[Item], Item] | None:
        """Make the function that turns an item into what its entry holds; None if that is all."""
        include, exclude, rename = self.include, self.exclude, self.rename
        constants = self.constants
        if include is None and not exclude and not rename and not constants:
            return None

        def make(item: Item) -> Item:
            made = {
                name: value
                for name, value in item.items()
                if (include is None or name in include) and name not in exclude
            }
            # Whatever the order of an item's attributes, a new name outdoes one of its own.
            renamed = {new: made.pop(old) for old, new in rename.items() if old in made}
            return {**made, **renamed, **constants}

        return make
