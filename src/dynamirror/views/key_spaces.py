"""The beginnings of views' keys, of which none may begin with another."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.views.key_template import KeyTemplate

if TYPE_CHECKING:
    from dynamirror.views.view import ViewSpec


# A default key begins as with these, whatever the table's key.
_KEYS: Final = ("id", "sort")


class KeySpace(msgspec.Struct, frozen=True):
    """What the keys of a view begin with.

    Args:
        view: name of the view.
        table: name of its table.
        prefix: the text before the first attribute.
        is_tagged: whether the keys have a hash tag of their own.
        before_tag: the text before it; None where an attribute stands before it.
    """

    view: str
    table: str
    prefix: str
    is_tagged: bool
    before_tag: str | None

    @classmethod
    def of(cls, view: str, table: str, template: KeyTemplate) -> "KeySpace":
        """Return the key space of a view."""
        return cls(view, table, template.prefix, template.is_tagged, template.before_tag)

    def is_apart(self, other: "KeySpace") -> bool:
        """Return whether hash tags alone keep the keys apart, as no value has a brace."""
        if self.is_tagged != other.is_tagged:
            return True
        both = self.before_tag, other.before_tag
        return None not in both and both[0] != both[1]

    def __str__(self) -> str:
        return f"{self.view} (table {self.table})"


def check_apart(one: KeySpace, other: KeySpace) -> None:
    """Check that two views cannot write the same key.

    Raises:
        ConfigError: they can.
    """
    if one.is_apart(other):
        return
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
                text = spec.key or spec.order.default_key(_KEYS)
                try:
                    template = KeyTemplate.parse(text, table=table)
                except ConfigError as error:
                    raise ConfigError(f"view {spec.name}: {error}") from None
                yield KeySpace.of(spec.name, table, template)
