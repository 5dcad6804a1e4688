"""The legacy forms of conditions and projections, as the objects that expressions become.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LegacyConditionalParameters.html
"""

from collections.abc import Mapping
from typing import Any, Final

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.condition import Bound, Condition, Holds, combined, test_of
from dynamirror.expressions.key_condition import KeyCondition, SortCondition, key_condition
from dynamirror.expressions.placeholders import is_name
from dynamirror.expressions.projection import Projection, branches_of
from dynamirror.expressions.values import ORDERED, comparable, constant, contains, getter
from dynamirror.records.attribute_value import AttributeValue, Item

# How expressions write the same; the others are below.
_OPERATORS: Final = {
    "EQ": "=",
    "NE": "<>",
    "LE": "<=",
    "LT": "<",
    "GE": ">=",
    "GT": ">",
    "NOT_NULL": "attribute_exists",
    "NULL": "attribute_not_exists",
    "CONTAINS": "contains",
    "BEGINS_WITH": "begins_with",
    "IN": "IN",
    "BETWEEN": "BETWEEN",
}
_COUNTS: Final = {"NULL": 0, "NOT_NULL": 0, "BETWEEN": 2}  # of values; one for the others
_OF_KEYS: Final = frozenset({"EQ", "LE", "LT", "GE", "GT", "BEGINS_WITH", "BETWEEN"})
_OF_ALL_TYPES: Final = frozenset({"EQ", "NE"})
_MOST_CANDIDATES: Final = 99
_MOST_ATTRIBUTES: Final = 255


def query_filter(given: object, conditional_operator: object = None) -> Condition:
    """Read a QueryFilter that is not empty.

    Args:
        given: the request's QueryFilter.
        conditional_operator: AND, OR or None.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    conditions = _conditions(given)
    if conditional_operator not in ("AND", "OR", None):
        raise NotUnderstoodError("ConditionalOperator is neither AND nor OR")
    if conditional_operator and len(conditions) == 1:
        raise NotUnderstoodError("ConditionalOperator is for two conditions and more")
    tests = [_test(name, *condition) for name, condition in conditions.items()]
    return Condition(combined(str(conditional_operator or "AND"), tests), frozenset(conditions))


def key_conditions(given: object) -> KeyCondition:
    """Read KeyConditions.

    Raises:
        NotUnderstoodError: they are not understood, or DynamoDB may refuse them.
    """
    parts = []
    for name, (operator, values) in _conditions(given).items():
        if operator not in _OF_KEYS:
            raise NotUnderstoodError("KeyConditions have an operator that is not for keys")
        parts.append(SortCondition(name, _OPERATORS[operator], values))
    return key_condition(parts)


def attributes_to_get(given: object) -> Projection:
    """Read AttributesToGet; each is a name, even with dots in it.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_ATTRIBUTES:
        raise NotUnderstoodError("AttributesToGet must be a list that is not empty")
    if not all(map(is_name, given)):
        raise NotUnderstoodError("AttributesToGet has what is no name")
    return Projection(branches_of((name,) for name in given))


def _conditions(given: object) -> dict[str, tuple[str, tuple[AttributeValue, ...]]]:
    """Return operator and values by attribute."""
    if not isinstance(given, Mapping) or not given:
        raise NotUnderstoodError("conditions must be an object that is not empty")
    return {_checked(name): _condition(condition) for name, condition in given.items()}


def _checked(name: object) -> str:
    if not is_name(name):
        raise NotUnderstoodError("a condition is on what is no name")
    return str(name)


def _condition(given: Any) -> tuple[str, tuple[AttributeValue, ...]]:
    if not isinstance(given, Mapping) or not given.keys() <= {
        "ComparisonOperator",
        "AttributeValueList",
    }:
        raise NotUnderstoodError("a condition has an unknown parameter")
    operator, listed = given.get("ComparisonOperator"), given.get("AttributeValueList") or []
    if not isinstance(operator, str) or operator not in (*_OPERATORS, "NOT_CONTAINS"):
        raise NotUnderstoodError("a condition has an unknown operator")
    if not isinstance(listed, list):
        raise NotUnderstoodError("AttributeValueList must be a list")
    values = tuple(map(constant, listed))
    tags = {tag for value in values for tag in value}
    if operator == "IN":
        fits = 0 < len(values) <= _MOST_CANDIDATES and len(tags) == 1
    else:
        fits = len(values) == _COUNTS.get(operator, 1)
    if not fits or (operator not in _OF_ALL_TYPES and not tags <= ORDERED):
        raise NotUnderstoodError("a condition has values that its operator does not take")
    return operator, values


def _test(name: str, operator: str, values: tuple[AttributeValue, ...]) -> Holds:
    if operator == "NOT_CONTAINS":
        return _does_not_contain(name, values[0])
    operands = [Bound(steps=(name,)), *(Bound(constant=value) for value in values)]
    return test_of(_OPERATORS[operator], operands)


def _does_not_contain(name: str, element: AttributeValue) -> Holds:
    test_of("contains", [Bound(steps=(name,)), Bound(constant=element)])  # checks the element
    get, part = getter((name,)), comparable(element)

    def test(item: Item) -> bool:
        value = get(item)
        if value is None:
            # Reports differ on what DynamoDB answers.
            raise NotUnderstoodError("NOT_CONTAINS on an attribute that is missing")
        return not contains(value, part)

    return test
