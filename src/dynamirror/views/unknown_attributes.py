"""Attributes that a view names and no sample item has, or not as the type that is needed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from dynamirror.records.attribute_value import Item
from dynamirror.views.condition import path
from dynamirror.views.view import View, ViewSpec

# As far apart as `exipres` and `expires_at`.
_LEAST_RESEMBLANCE = 0.6
# As other types, an entry never expires, has no score, and is in no index.
_TYPES: Final = {
    "ttl": ({"N"}, "a number"),
    "score": ({"N"}, "a number"),
    "index": ({"S", "N", "B"}, "text, a number or binary"),
}


@dataclass(frozen=True, slots=True)
class UnknownAttribute:
    """An attribute that no sample item has.

    Args:
        name: the attribute, as the view names it.
        fields: the fields of `mirror.toml` that name it.
        is_elsewhere: whether an item that the view does not select has it.
        suggestion: the attribute of an item that resembles it most; None if none does.
        needed: what it must be, if items have it as something else; None for anything.
    """

    name: str
    fields: tuple[str, ...]
    is_elsewhere: bool
    suggestion: str | None
    needed: str | None = None

    def __str__(self) -> str:
        """Return a sentence."""
        fields = " and ".join(f"`{field}`" for field in self.fields)
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        items = "no sample item of this view" if self.is_elsewhere else "no sample item"
        name = f"{self.name} as {self.needed}" if self.needed else self.name
        return f"{items} has {name}, which {fields} names{hint}"


def unknown_attributes(
    spec: ViewSpec, view: View, items: Sequence[Item]
) -> Iterator[UnknownAttribute]:
    """Yield the attributes that a view names and no sample item has, or none as the needed type.

    Attributes in `when` are sought in all items. Others are sought in those that the view selects,
    or in all items if it selects none.

    Args:
        spec: the view as it was written.
        view: bound to its table.
        items: samples of the table.
    """
    selected = [item for item in items if view.when is None or view.when.holds(item)] or items
    fields_of: dict[str, list[str]] = {}
    elsewhere = set[str]()
    mistyped: list[UnknownAttribute] = []
    for field, name, is_path in _named(spec, view):
        find = path(name, view.schema.keys) if is_path else _top_level(name)
        values = [find(item) for item in (items if field == "when" else selected)]
        if found := [value for value in values if isinstance(value, Mapping)]:
            types, needed = _TYPES.get(field, (set(), None))
            if types and not any(types & value.keys() for value in found):
                mistyped.append(
                    UnknownAttribute(
                        name, (field,), is_elsewhere=False, suggestion=None, needed=needed
                    )
                )
            continue
        fields_of.setdefault(name, []).append(field)
        if any(find(item) is not None for item in items):
            elsewhere.add(name)
    for name, fields in fields_of.items():
        suggestion = _suggestion(name, fields, selected)
        yield UnknownAttribute(name, tuple(fields), name in elsewhere, suggestion)
    yield from mistyped


def _named(spec: ViewSpec, view: View) -> Iterator[tuple[str, str, bool]]:
    """Yield the field, the attribute, and whether its dots lead into maps."""
    projection = spec.projection
    for name in dict.fromkeys(view.template.names):
        is_indexed = spec.index is not None and name in spec.index.names
        yield "index" if is_indexed else "key", name, not is_indexed
    for name in sorted(view.when.names() if view.when else ()):
        yield "when", name, True
    if spec.score:
        yield "score", spec.score, True
    if spec.ttl:
        yield "ttl", spec.ttl, True
    for name in sorted(projection.include or ()):
        yield "include", name, False
    for name in sorted(projection.exclude):
        yield "exclude", name, False
    for name in projection.rename:
        yield "rename", name, False
    for name in sorted(view.encoding.attributes or ()):
        if name not in {*projection.rename.values(), *projection.constants}:
            yield "attribute", name, False


def _top_level(name: str) -> Callable[[Item], object]:
    return lambda item: item.get(name)


def _suggestion(name: str, fields: Sequence[str], items: Iterable[Item]) -> str | None:
    leads_into_maps = {"key", "when", "ttl", "score"}.issuperset(fields)
    known = {
        attribute.lower(): attribute
        for item in items
        for attribute in (_paths(item) if leads_into_maps else item)
        if attribute != name
    }
    near = get_close_matches(name.lower(), known, n=1, cutoff=_LEAST_RESEMBLANCE)
    return known[near[0]] if near else None


def _paths(item: Item, prefix: str = "") -> Iterator[str]:
    """Yield the attributes of an item, and those in its maps as dotted paths."""
    for name, value in item.items():
        yield f"{prefix}{name}"
        inside = value.get("M") if isinstance(value, Mapping) else None
        if isinstance(inside, Mapping):
            yield from _paths(inside, f"{prefix}{name}.")
