"""How the entries of a view are read in order: by the table's key, by an index, or by a number."""

from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.records.attribute_value import Item
from dynamirror.views.board import Board
from dynamirror.views.collection import Collection
from dynamirror.views.index import Index, IndexSpec, check_name, named, typed
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.projection import Projection
from dynamirror.views.schema import Schema

Members = Collection | Index | Board


class Order(msgspec.Struct, frozen=True):
    """The order that a view's options ask for.

    Args:
        view: name of the view.
        index: the attributes of an index view; None for any other.
        score: the attribute with the number that orders the entries; None for none.
        is_collection: whether the order is that of the table's sort key.
    """

    view: str
    index: IndexSpec | None
    score: str | None
    is_collection: bool

    def default_key(self, keys: tuple[str, ...]) -> str:
        """Return the template of a view without one.

        Args:
            keys: names of the table's key attributes, partition key first.
        """
        if self.index is None:
            names = [f"{{{name}}}" for name in keys]
            if self.is_collection:
                names[0] = f"{{{{{names[0]}}}}}"
            return "{table}:" + ":".join(names)
        names = [f"{{{name}}}" for name in named(self.index, keys)]
        if self.index.partition is None:
            names.insert(0, f"{{{{{self.view}}}}}")
        else:
            names[0] = f"{{{{{names[0]}}}}}"
        return f"{{table}}:{self.view}:" + ":".join(names)

    def check(self, keys: tuple[str, ...], projection: Projection) -> None:
        """Refuse a view that cannot keep what its order needs.

        Args:
            keys: names of the table's key attributes, partition key first.
            projection: what of an item is written.

        Raises:
            ConfigError: it cannot.
        """
        if self.index is None:
            return
        check_name(self.view)
        if self.score is not None:
            return
        kept = {*self.index.names, *keys}
        for field, names in (
            ("exclude", projection.exclude),
            ("rename", {*projection.rename, *projection.rename.values()}),
            ("constants", projection.constants.keys()),
        ):
            if lost := kept.intersection(names):
                raise ConfigError(
                    f"{field}: an index view keeps the attributes of the index and of the primary "
                    f"key as they are; leave out {' and '.join(sorted(lost))}"
                )

    def typed(self, keys: tuple[str, ...]) -> frozenset[str]:
        """Return the attributes in the key whose values may have several types.

        Args:
            keys: names of the table's key attributes, partition key first.

        Raises:
            ConfigError: an attribute cannot be one of an index.
        """
        if self.index is None:
            return frozenset()
        names = typed(self.index, keys)
        return names if self.score is None else frozenset()

    def completed(self, projection: Projection, keys: tuple[str, ...]) -> Projection:
        """Return the projection with what an index view always has, as a GSI has it.

        Args:
            projection: as the user wrote it.
            keys: names of the table's key attributes, partition key first.
        """
        if self.index is None or self.score is not None or projection.include is None:
            return projection
        kept = projection.include.union(self.index.names, keys)
        return msgspec.structs.replace(projection, include=kept)

    def members(
        self, template: KeyTemplate, schema: Schema, key_of: Callable[[Item], str | None]
    ) -> Members | None:
        """Return the sorted sets of a view's entries; None for none.

        Args:
            template: of the entries' keys.
            schema: of the table.
            key_of: item to key of its entry.

        Raises:
            ConfigError: the template does not fit the order.
        """
        if self.score is not None:
            partition = schema.keys[0] if self.index is None else self.index.partition
            # The types may not be known before the first call.
            reader = cache(lambda: identifier(template, schema, {}, is_placed=True))

            def identify(key: str) -> Item | None:
                return reader()(key)

            return Board.of(
                *(template, partition, self.score),
                keys=schema.keys,
                key_of=key_of,
                identify=identify,
            )
        if self.index is not None:
            types = dict(zip(schema.keys, schema.types, strict=False))
            return Index.of(
                *(self.view, self.index, template), keys=schema.keys, types=types, key_of=key_of
            )
        if self.is_collection:
            return Collection.of(template, schema.keys, schema.types, key_of)
        return None


def identifier(
    template: KeyTemplate, schema: Schema, pinned: Mapping[str, str], *, is_placed: bool
) -> Callable[[str], Item | None]:
    """Return a function from an entry's key to its item's primary key, or None.

    Args:
        template: of the key.
        schema: of the table, with the types of its keys.
        pinned: texts of primary-key attributes that the key does not name.
        is_placed: whether the key's other attributes are wanted, too.
    """
    types = dict(zip(schema.keys, schema.types, strict=True))
    others = [name for name in template.names if name not in types] if is_placed else ()
    return template.reader(types, pinned, others=others)
