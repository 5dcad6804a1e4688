"""Conditions on the key of a query: `KeyConditionExpression`.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.KeyConditionExpressions.html
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.condition import ORDERINGS, check_bounds, check_prefix
from dynamirror.expressions.grammar import (
    Combination,
    Node,
    Operand,
    Path,
    Test,
    Value,
    condition_tree,
)
from dynamirror.expressions.placeholders import bind_path, bind_value
from dynamirror.expressions.values import ORDERED
from dynamirror.records.attribute_value import AttributeValue

_FLIPPED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_LONGEST: Final = (2048, 1024)  # bytes: partition key, sort key


class SortCondition(NamedTuple):
    """The condition on the sort key.

    Args:
        name: the attribute.
        operator: =, <, <=, >, >=, BETWEEN or begins_with.
        operands: one value, or two for BETWEEN.
    """

    name: str
    operator: str
    operands: tuple[AttributeValue, ...]


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """The condition on a query's key.

    Two equalities alone do not show which attribute is the partition key: `for_keys` does.

    Args:
        partition: the attribute and its value.
        sort: the condition on the other attribute, if there is one.
        placeholders: those that its text uses.
    """

    partition: tuple[str, AttributeValue]
    sort: SortCondition | None = None
    placeholders: frozenset[str] = frozenset()

    def for_keys(self, names: Sequence[str], types: Sequence[str] = ()) -> "KeyCondition":
        """Return the condition with the attributes in the order of a key schema.

        Args:
            names: the partition key's, and the sort key's if there is one.
            types: their type tags, if known.

        Raises:
            NotUnderstoodError: it is not a condition on this key.
        """
        condition = self
        if self.sort and self.sort.operator == "=" and self.sort.name == names[0]:
            name, value = self.partition
            condition = replace(
                self,
                partition=(self.sort.name, self.sort.operands[0]),
                sort=SortCondition(name, "=", (value,)),
            )
        name, value = condition.partition
        sort = condition.sort
        given = [(name, (value,)), *([(sort.name, sort.operands)] if sort else [])]
        if len(given) > len(names):
            raise NotUnderstoodError("a key condition has more attributes than the key")
        for place, (attribute, operands) in enumerate(given):
            if attribute != names[place]:
                raise NotUnderstoodError("a key condition is on another attribute than the key's")
            for operand in operands:
                if types and types[place] not in operand:
                    raise NotUnderstoodError("a key condition has a value of another type")
                _check_length(operand, _LONGEST[place])
        return condition


def parse_key_condition(
    text: str, names: Mapping[str, str] | None, values: Mapping[str, Any] | None
) -> KeyCondition:
    """Read a key condition expression.

    Args:
        text: the expression.
        names: the request's ExpressionAttributeNames.
        values: its ExpressionAttributeValues, in DynamoDB JSON.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    tree = condition_tree(text)
    parts = [_part(test, names, values) for test in _tests(tree.root)]
    return replace(key_condition(parts), placeholders=tree.placeholders)


def key_condition(parts: Sequence[SortCondition]) -> KeyCondition:
    """Join the conditions on the attributes of a key.

    Raises:
        NotUnderstoodError: none is an equality, or there are too many.
    """
    for part in parts:
        _check(part)
    equalities = [part for part in parts if part.operator == "="]
    if (
        not equalities
        or len(parts) > len(_LONGEST)
        or len({part.name for part in parts}) < len(parts)
    ):
        raise NotUnderstoodError("a key condition needs one equality, and one other at the most")
    partition = equalities[0]
    sort = next((part for part in parts if part is not partition), None)
    return KeyCondition((partition.name, partition.operands[0]), sort)


def _tests(node: Node) -> Iterator[Test]:
    if isinstance(node, Test):
        yield node
    elif isinstance(node, Combination) and node.operator == "AND":
        for part in node.parts:
            yield from _tests(part)
    else:
        raise NotUnderstoodError("a key condition can be joined by AND only")


def _part(
    test: Test, names: Mapping[str, str] | None, values: Mapping[str, Any] | None
) -> SortCondition:
    operator, operands = test
    if operator in _FLIPPED and isinstance(operands[0], Value):
        operator, operands = _FLIPPED[operator], operands[::-1]
    steps = bind_path(_attribute(operands[0]), names)
    constants = [operand for operand in operands[1:] if isinstance(operand, Value)]
    if len(steps) != 1 or len(constants) != len(operands) - 1:
        raise NotUnderstoodError("a key condition compares an attribute with constants")
    return SortCondition(
        str(steps[0]), operator, tuple(bind_value(each, values) for each in constants)
    )


def _attribute(operand: Operand) -> Path:
    if not isinstance(operand, Path):
        raise NotUnderstoodError("a key condition compares an attribute with constants")
    return operand


def _check(part: SortCondition) -> None:
    """Check the operands of a condition on a key attribute.

    Raises:
        NotUnderstoodError: DynamoDB may refuse them.
    """
    match part:
        case SortCondition(_, "BETWEEN", (low, high)):
            check_bounds(low, high)
        case SortCondition(_, "begins_with", (prefix,)):
            check_prefix(prefix)
        case SortCondition(_, operator, (_,)) if operator == "=" or operator in ORDERINGS:
            pass
        case _:
            raise NotUnderstoodError("a key condition has an operator that is not for keys")
    for operand in part.operands:
        ((tag, content),) = operand.items()
        if tag not in ORDERED or not content:
            raise NotUnderstoodError("a key condition has a value that can be no key")


def _check_length(operand: AttributeValue, longest: int) -> None:
    ((tag, content),) = operand.items()
    if tag == "N" or len(content) * 4 <= longest:
        return
    size = len(content.encode()) if tag == "S" else len(b64decode(content))
    if size > longest:
        raise NotUnderstoodError("a key condition has a value that is too long for a key")
