"""Conditions: which items a view is for, as `when` in `mirror.toml` says."""

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from operator import methodcaller
from typing import Any, Protocol

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.records.attribute_value import AttributeValue, Item

Scalar = str | int | Decimal | bool
Get = Callable[[Item], AttributeValue | None]


class Condition(Protocol):
    """Selects items."""

    def holds(self, item: Item) -> bool:
        """Return whether an item fulfils it."""

    def may_hold(self, item: Item, known: Collection[str]) -> bool:
        """Return whether it can hold for an item of which only these attributes are known."""

    def names(self) -> frozenset[str]:
        """Return the attributes that it reads, as written."""


class Test(msgspec.Struct, frozen=True):
    """One attribute, compared with constants.

    Args:
        name: the attribute, as it is written; a dotted one leads into maps.
        operator: equals, in, prefix, exists, <, <=, > or >=.
        operand: what it is compared with.
        get: finds the attribute's value in an item.
    """

    name: str
    operator: str
    operand: Any
    get: Get

    def holds(self, item: Item) -> bool:
        """Return whether an item fulfils it; a missing attribute or another type does not."""
        value = self.get(item)
        if self.operator == "exists":
            return (value is not None) is bool(self.operand)
        if value is None:
            return False
        return _TESTS[self.operator](value, self.operand)

    def may_hold(self, item: Item, known: Collection[str]) -> bool:
        """Return whether it can hold for an item of which only these attributes are known."""
        return self.name not in known or self.holds(item)

    def names(self) -> frozenset[str]:
        """Return the attribute that it reads."""
        return frozenset((self.name,))


class Combined(msgspec.Struct, frozen=True):
    """Several conditions, of which all or any must hold.

    Args:
        parts: the conditions.
        together: all or any.
    """

    parts: tuple[Condition, ...]
    together: Callable[[Any], bool]

    def holds(self, item: Item) -> bool:
        """Return whether an item fulfils it."""
        return self.together(part.holds(item) for part in self.parts)

    def may_hold(self, item: Item, known: Collection[str]) -> bool:
        """Return whether it can hold for an item of which only these attributes are known."""
        # No condition denies another: to take what is not known for true is never too strict.
        return self.together(part.may_hold(item, known) for part in self.parts)

    def names(self) -> frozenset[str]:
        """Return the attributes that any part reads."""
        return frozenset().union(*(part.names() for part in self.parts))


def _equals(value: AttributeValue, operand: Scalar) -> bool:
    match value, operand:
        case {"S": str(text)}, str():
            return text == operand
        case {"BOOL": bool(flag)}, bool():
            return flag is operand
        case {"N": digits}, int() | Decimal() if not isinstance(operand, bool):
            number = _number(digits)
            return number is not None and number == operand
        case _:
            return False


def _prefix(value: AttributeValue, operand: str) -> bool:
    match value:
        case {"S": str(text)}:
            return text.startswith(operand)
        case _:
            return False


def _ordered(compare: Callable[[Decimal, Any], bool]) -> Callable[[AttributeValue, Any], bool]:
    def test(value: AttributeValue, operand: Any) -> bool:
        number = _number(value.get("N")) if isinstance(value, Mapping) else None
        return number is not None and compare(number, operand)

    return test


def _number(digits: object) -> Decimal | None:
    try:
        number = Decimal(digits) if isinstance(digits, str) else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


_TESTS: Mapping[str, Callable[[AttributeValue, Any], bool]] = {
    "equals": _equals,
    "in": lambda value, operands: any(_equals(value, one) for one in operands),
    "prefix": _prefix,
    "<": _ordered(lambda number, operand: number < operand),
    "<=": _ordered(lambda number, operand: number <= operand),
    ">": _ordered(lambda number, operand: number > operand),
    ">=": _ordered(lambda number, operand: number >= operand),
}
# Every record runs through them, by recursion.
_MOST_LEVELS = 32
_OPERATORS = (*_TESTS, "exists")


def path(name: str, keys: Sequence[str] = ()) -> Get:
    """Make the function that finds an attribute in an item.

    Args:
        name: the attribute; dots lead into maps, unless it is one of the primary key.
        keys: names of the primary-key attributes.
    """
    if name in keys or "." not in name:
        return methodcaller("get", name)  # which takes no frame of Python's
    first, *rest = name.split(".")

    def get(item: Item) -> AttributeValue | None:
        value = item.get(first)
        for step in rest:
            inside = value.get("M") if isinstance(value, Mapping) else None
            value = inside.get(step) if isinstance(inside, Mapping) else None
        return value

    return get


def parse(given: object, *, keys: Sequence[str] = (), where: str = "when") -> Condition:
    """Read a condition.

    Args:
        given: as TOML has it: a table of attributes, each with a constant or a table of operators;
            all must hold. `any` and `all` take lists of such tables.
        keys: names of the primary-key attributes.
        where: what messages call it.

    Raises:
        ConfigError: it cannot be understood.
    """
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f'{where}: must be a table of attributes, as in {{ type = "user" }}')
    if where.count("[") > _MOST_LEVELS:
        raise ConfigError(f"when: `any` and `all` are nested more than {_MOST_LEVELS} deep")
    parts: list[Condition] = []
    for name, operand in given.items():
        if name in ("any", "all") and isinstance(operand, list):
            inner = [
                parse(one, keys=keys, where=f"{where}.{name}[{index}]")
                for index, one in enumerate(operand)
            ]
            if not inner:
                raise ConfigError(f"{where}.{name}: is empty; give at least one condition")
            parts.append(Combined(tuple(inner), any if name == "any" else all))
        elif isinstance(operand, Mapping):
            if not operand:
                raise ConfigError(f"{where}.{name}: names no operator")
            parts += (
                _test(name, operator, value, keys, where) for operator, value in operand.items()
            )
        else:
            parts.append(_test(name, "equals", operand, keys, where))
    return parts[0] if len(parts) == 1 else Combined(tuple(parts), all)


def _test(name: str, operator: str, operand: Any, keys: Sequence[str], where: str) -> Test:
    field = f"{where}.{name}"
    fits: Callable[[Any], bool] = {
        "equals": _is_scalar,
        "in": lambda value: isinstance(value, list) and bool(value) and all(map(_is_scalar, value)),
        "prefix": lambda value: isinstance(value, str) and bool(value),
        "exists": lambda value: isinstance(value, bool),
    }.get(operator, _is_number)
    if operator not in _OPERATORS:
        raise ConfigError(f"{field}: {operator!r} is not one of {', '.join(_OPERATORS)}")
    if not fits(operand):
        raise ConfigError(f"{field}: {operator} does not go with {operand!r}")
    if operator == "in":
        operand = tuple(operand)
    return Test(name, operator, operand, path(name, keys))


def _is_number(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, int) and not isinstance(value, bool)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool) or _is_number(value)


def pinned(condition: Condition | None) -> dict[str, str]:
    """Return the attributes that a condition fixes to one text; a key need not name them."""
    match condition:
        case Test(operator="equals", operand=str(text), name=name):
            return {name: text}
        case Combined(together=together, parts=parts) if together is all:
            found: dict[str, str] = {}
            for part in parts:
                found |= pinned(part)
            return found
        case _:
            return {}
