"""The beginnings of views' keys, of which none may begin with another."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.views.key_template import KeyTemplate

if TYPE_CHECKING:
    from dynamirror.views.view import ViewSpec


# The default keys, of an entry and of a collection's, begin like these, whatever the table's key.
_DEFAULT: Final = "{table}:{id}"
_DEFAULT_OF_COLLECTION: Final = "{table}:{{{id}}}:{sort}"


class KeySpace(msgspec.Struct, frozen=True):
    """What the keys of a view begin with.

    Args:
        view: name of the view.
        table: name of its table.
        prefix: the text before the first attribute.
    """

    view: str
    table: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.view} (table {self.table})"


def check_apart(one: KeySpace, other: KeySpace) -> None:
    """Check that two views cannot write the same key.

    Raises:
        ConfigError: they can.
    """
    short, long = sorted((one.prefix, other.prefix), key=len)
    if long.startswith(short):
        reason = f"the keys of both begin with {short!r}"
        if short != long:
            reason = f"each key that begins with {long!r} begins with {short!r}, too"
        if not short:
            reason = "the keys of one begin with an attribute, which can be any text"
        raise ConfigError(
            f"views {other} and {one} could both write one key, because {reason}; begin their keys "
            "with words of which none begins with another"
        )


def check_tables(specs: Sequence["ViewSpec"], tables: Sequence[str]) -> None:
    """Check that the views of several tables in one cache cannot write the same key.

    Args:
        specs: the views of `mirror.toml`.
        tables: names of the tables.

    Raises:
        ConfigError: they can.
    """
    spaces = list(_spaces(specs, tables)) if len(tables) > 1 else []
    for other, one in combinations(spaces, 2):
        if one.table != other.table:
            check_apart(one, other)


def _spaces(specs: Sequence["ViewSpec"], tables: Sequence[str]) -> Iterator[KeySpace]:
    for table in tables:
        for spec in specs:
            if spec.table in (None, table):
                default = _DEFAULT_OF_COLLECTION if spec.collection else _DEFAULT
                try:
                    template = KeyTemplate.parse(spec.key or default, table=table)
                except ConfigError as error:
                    raise ConfigError(f"view {spec.name}: {error}") from None
                yield KeySpace(spec.name, table, template.prefix)
