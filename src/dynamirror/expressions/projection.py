"""Projections: the parts of an item that a read returns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.grammar import projection_tree
from dynamirror.expressions.placeholders import bind_path
from dynamirror.expressions.values import Steps, step_into
from dynamirror.records.attribute_value import AttributeValue, Item

# Step to what is wanted behind it; nothing for the whole value.
Branches: TypeAlias = dict[str | int, "Branches"]


@dataclass(frozen=True, slots=True)
class Projection:
    """Paths into items, in DynamoDB JSON.

    Args:
        branches: the paths, joined where they begin alike; indexes in order.
        placeholders: those that its text uses.
    """

    branches: Branches
    placeholders: frozenset[str] = frozenset()

    def of(self, item: Item) -> dict[str, AttributeValue]:
        """Return the parts of an item; none of them may be there.

        Raises:
            NotUnderstoodError: the item has a value that is none.
        """
        try:
            return _members(item, self.branches)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise NotUnderstoodError("an item has a value that is none") from None

    def names(self) -> frozenset[str]:
        """Return the top-level attributes that it reads."""
        return frozenset(map(str, self.branches))

    @property
    def nested(self) -> frozenset[str]:
        """Return the top-level attributes into which it reads."""
        return frozenset(str(name) for name, inner in self.branches.items() if inner)


def parse_projection(text: str, names: Mapping[str, str] | None) -> Projection:
    """Read a projection expression.

    Args:
        text: the expression.
        names: the request's ExpressionAttributeNames.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    tree = projection_tree(text)
    paths = [bind_path(path, names) for path in tree.paths]
    return Projection(branches_of(paths), tree.placeholders)


def branches_of(paths: Iterable[Steps]) -> Branches:
    """Join paths.

    Raises:
        NotUnderstoodError: one contains another, or two conflict.
    """
    root: Branches = {}
    for path in paths:
        branches = root
        for place, step in enumerate(path, 1):
            conflicts = type(next(iter(branches), step)) is not type(step)
            # What is there already ends here, or the path does.
            overlaps = step in branches and (place == len(path) or not branches[step])
            if conflicts or overlaps:
                raise NotUnderstoodError("two paths of a projection overlap or conflict")
            branches = branches.setdefault(step, {})
    return _in_order(root)


def _in_order(branches: Branches) -> Branches:
    steps: list[Any] = list(branches)
    return {step: _in_order(branches[step]) for step in sorted(steps)}


def _members(members: Item, branches: Branches) -> dict[str, AttributeValue]:
    result: dict[str, AttributeValue] = {}
    for name, inner in branches.items():
        assert isinstance(name, str)
        value = members.get(name)
        part = value if value is None or not inner else _part(value, inner)
        if part is not None:
            result[name] = part
    return result


def _part(value: AttributeValue, branches: Branches) -> AttributeValue | None:
    if isinstance(next(iter(branches)), str):
        members = _members(value["M"], branches) if "M" in value else None
        return {"M": members} if members else None
    elements = [
        part
        for step, inner in branches.items()
        if (element := step_into(value, step)) is not None
        and (part := _part(element, inner) if inner else element) is not None
    ]
    return {"L": elements} if elements else None
