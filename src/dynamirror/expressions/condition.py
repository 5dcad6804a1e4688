"""Conditions that filter items: `FilterExpression`, and what its legacy form becomes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import ge, gt, le, lt
from typing import Any, Final, NamedTuple, TypeAlias

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.grammar import (
    COMPARATORS,
    FUNCTIONS,
    Combination,
    Node,
    Operand,
    Path,
    Size,
    Value,
    condition_tree,
)
from dynamirror.expressions.placeholders import bind_path, bind_value
from dynamirror.expressions.values import (
    ORDERED,
    TYPES,
    Comparable,
    Steps,
    comparable,
    contains,
    getter,
    size_of,
)
from dynamirror.records.attribute_value import AttributeValue, Item

Holds: TypeAlias = Callable[[Item], bool]
Read: TypeAlias = Callable[[Item], Comparable | None]

ORDERINGS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on items, in DynamoDB JSON.

    Args:
        test: evaluates it.
        attributes: the top-level attributes that it reads.
        placeholders: those that its text uses.
        nested: the top-level attributes into which it reads.
    """

    test: Holds
    attributes: frozenset[str]
    placeholders: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()

    def holds(self, item: Item) -> bool:
        """Return whether an item fulfils it.

        Raises:
            NotUnderstoodError: DynamoDB's answer is not known for this item.
        """
        try:
            return self.test(item)
        except NotUnderstoodError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise NotUnderstoodError("an item has a value that is none") from None

    def names(self) -> frozenset[str]:
        """Return the top-level attributes that it reads."""
        return self.attributes


class Bound(NamedTuple):
    """An operand bound to a request.

    Args:
        constant: the value, if it is one.
        steps: the path, if it is one, or of which it is the size.
        is_size: whether it is a size.
    """

    constant: AttributeValue | None = None
    steps: Steps | None = None
    is_size: bool = False

    @property
    def tag(self) -> str | None:
        """Return the type of a constant."""
        return next(iter(self.constant)) if self.constant is not None else None


def parse_condition(
    text: str, names: Mapping[str, str] | None, values: Mapping[str, Any] | None
) -> Condition:
    """Read a filter expression.

    Args:
        text: the expression.
        names: the request's ExpressionAttributeNames.
        values: its ExpressionAttributeValues, in DynamoDB JSON.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    tree = condition_tree(text)
    attributes: set[str] = set()
    nested: set[str] = set()

    def bind(operand: Operand) -> Bound:
        match operand:
            case Value():
                return Bound(constant=bind_value(operand, values))
            case Size(path):
                bound = Bound(steps=bind_path(path, names), is_size=True)
            case Path():
                bound = Bound(steps=bind_path(operand, names))
        assert bound.steps
        attributes.add(str(bound.steps[0]))
        if len(bound.steps) > 1:
            nested.add(str(bound.steps[0]))
        return bound

    def build(node: Node) -> Holds:
        if isinstance(node, Combination):
            return combined(node.operator, [build(part) for part in node.parts])
        return test_of(node.operator, [bind(operand) for operand in node.operands])

    test = build(tree.root)
    return Condition(test, frozenset(attributes), tree.placeholders, frozenset(nested))


def combined(operator: str, parts: Sequence[Holds]) -> Holds:
    """Join conditions by AND or OR, or negate one by NOT."""
    if operator == "NOT":
        (part,) = parts
        return lambda item: not part(item)
    together = all if operator == "AND" else any
    return lambda item: together(part(item) for part in parts)


def test_of(operator: str, operands: Sequence[Bound]) -> Holds:
    """Make the function that evaluates one comparison or function.

    Raises:
        NotUnderstoodError: DynamoDB may refuse the operands.
    """
    if all(operand.constant is not None for operand in operands):
        raise NotUnderstoodError(f"{operator} compares constants only")
    if operands[0] in operands[1:]:
        raise NotUnderstoodError(f"the first operand of {operator} must differ from the others")
    if operator in COMPARATORS:
        return _comparison(operator, *operands)
    if operator in FUNCTIONS and any(operand.is_size for operand in operands):
        raise NotUnderstoodError(f"{operator} may not take a size")
    return _TESTS[operator](*operands)


def _comparison(operator: str, left: Bound, right: Bound) -> Holds:
    _check_sizes(left, right)
    first, second = _read(left, operator), _read(right, operator)
    if operator in ORDERINGS:
        _check_ordered(left, right)
        return _ordering(ORDERINGS[operator], first, second)
    if operator == "=":
        return lambda item: _are_equal(first(item), second(item))
    # What is missing differs from everything, even from what is missing.
    return lambda item: not _are_equal(first(item), second(item))


def _are_equal(left: Comparable | None, right: Comparable | None) -> bool:
    return left is not None and left == right


def _ordering(compare: Callable[[Any, Any], bool], first: Read, second: Read) -> Holds:
    def test(item: Item) -> bool:
        return _is_ordered(compare, first(item), second(item))

    return test


def _is_ordered(
    compare: Callable[[Any, Any], bool], left: Comparable | None, right: Comparable | None
) -> bool:
    if left is None or right is None or left[0] != right[0] or left[0] not in ORDERED:
        return False
    return compare(left[1], right[1])


def _between(operand: Bound, low: Bound, high: Bound) -> Holds:
    _check_sizes(operand, low, high)
    _check_ordered(operand, low, high)
    if low.constant is not None and high.constant is not None:
        check_bounds(low.constant, high.constant)
    read, read_low, read_high = (_read(each) for each in (operand, low, high))

    def test(item: Item) -> bool:
        value = read(item)
        return _is_ordered(ge, value, read_low(item)) and _is_ordered(le, value, read_high(item))

    return test


def check_bounds(low: AttributeValue, high: AttributeValue) -> None:
    """Check the bounds of BETWEEN.

    Raises:
        NotUnderstoodError: they have two types, or the upper is below the lower.
    """
    fits = _is_ordered(le, comparable(low), comparable(high))
    if fits and "S" in low:
        # DynamoDB orders texts by their UTF-8; whether this check does so, too, is not known.
        fits = low["S"].encode("utf-16-be") <= high["S"].encode("utf-16-be")
    if not fits:
        raise NotUnderstoodError("the bounds of BETWEEN have two types, or are the wrong way round")


def _in(operand: Bound, *candidates: Bound) -> Holds:
    _check_sizes(operand, *candidates)
    read = _read(operand)
    reads = [_read(candidate) for candidate in candidates]

    def test(item: Item) -> bool:
        value = read(item)
        return value is not None and any(value == candidate(item) for candidate in reads)

    return test


def _exists(operand: Bound, *, there: bool) -> Holds:
    get = getter(_path(operand))
    return lambda item: (get(item) is not None) is there


def _has_type(operand: Bound, tag: Bound) -> Holds:
    get = getter(_path(operand))
    name = tag.constant.get("S") if tag.constant is not None else None
    if name not in TYPES:
        raise NotUnderstoodError("attribute_type needs the name of a type")
    return lambda item: (value := get(item)) is not None and name in value


def _begins_with(operand: Bound, prefix: Bound) -> Holds:
    get = getter(_path(operand))
    if prefix.constant is not None:
        check_prefix(prefix.constant)
    read = _read(prefix)

    def test(item: Item) -> bool:
        value, start = get(item), read(item)
        if value is None or start is None or start[0] not in ("S", "B") or start[0] not in value:
            return False
        _check_not_empty(start)
        return bool(comparable(value)[1].startswith(start[1]))

    return test


def check_prefix(prefix: AttributeValue) -> None:
    """Check the prefix of begins_with.

    Raises:
        NotUnderstoodError: it is empty, or neither text nor binary.
    """
    if not (prefix.get("S") or prefix.get("B")):
        raise NotUnderstoodError("begins_with needs a text or binary that is not empty")


def _contains(operand: Bound, element: Bound) -> Holds:
    get = getter(_path(operand))
    if element.constant is not None:
        _check_not_empty(comparable(element.constant))
    read = _read(element)

    def test(item: Item) -> bool:
        value, part = get(item), read(item)
        if value is None or part is None:
            return False
        _check_not_empty(part)
        return contains(value, part)

    return test


def _check_not_empty(part: Comparable) -> None:
    if part[0] in ("S", "B") and not part[1]:
        raise NotUnderstoodError("an empty text or binary may or may not be a part of another")


_TESTS: Final[Mapping[str, Callable[..., Holds]]] = {
    "BETWEEN": _between,
    "IN": _in,
    "attribute_exists": partial(_exists, there=True),
    "attribute_not_exists": partial(_exists, there=False),
    "attribute_type": _has_type,
    "begins_with": _begins_with,
    "contains": _contains,
}


def _read(operand: Bound, operator: str = "") -> Read:
    """Make the function that reads an operand; None for what is missing."""
    if operand.constant is not None:
        value = comparable(operand.constant)
        return lambda _item: value
    assert operand.steps
    get = getter(operand.steps)
    if not operand.is_size:
        return lambda item: None if (value := get(item)) is None else comparable(value)

    def size(item: Item) -> Comparable | None:
        value = get(item)
        number = None if value is None else size_of(value)
        if number is None and value is not None and operator == "<>":
            raise NotUnderstoodError("a value has no size, and may or may not differ from one")
        return None if number is None else ("N", number)

    return size


def _path(operand: Bound) -> Steps:
    if operand.steps is None or operand.is_size:
        raise NotUnderstoodError("a function needs a document path")
    return operand.steps


def _check_ordered(*operands: Bound) -> None:
    if any(operand.tag is not None and operand.tag not in ORDERED for operand in operands):
        raise NotUnderstoodError("a constant has a type without an order")


def _check_sizes(*operands: Bound) -> None:
    if any(operand.is_size for operand in operands) and any(
        operand.tag not in (None, "N") for operand in operands
    ):
        raise NotUnderstoodError("a size is compared with what is no number")
