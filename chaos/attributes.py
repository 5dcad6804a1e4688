"""An item's attributes, found and written in keys, from the documentation and not from the code."""

from collections.abc import Mapping
from typing import Any

Item = Mapping[str, Mapping[str, Any]]


class UnwritableError(Exception):
    """A view cannot key the item, or cannot write it: it is to be in quarantine."""


def find(name: str, item: Item) -> Mapping[str, Any] | None:
    """An attribute; dots lead into maps."""
    first, *rest = name.split(".")
    value = item.get(first)
    for step in rest:
        value = value["M"].get(step) if value is not None and "M" in value else None
    return value


def key_text(value: Mapping[str, Any]) -> str:
    """What stands in a key for a value."""
    ((tag, content),) = value.items()
    if tag not in ("S", "N", "B"):
        raise UnwritableError
    return str(content) if tag != "B" else content.rstrip("=").translate({43: 45, 47: 95})


def escape(text: str, letters: str) -> str:
    """A value with all that must not be seen in a key written as %XX."""
    seen = (c if c not in letters else "".join(f"%{b:02X}" for b in c.encode()) for c in text)
    return "".join(seen) or "%"
