"""Binds the placeholders of a syntax tree to a request's names and values."""

from collections.abc import Mapping
from typing import Any

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.grammar import Path, Value
from dynamirror.expressions.values import Steps, constant
from dynamirror.records.attribute_value import AttributeValue

_LONGEST_NAME = 65535  # bytes


def bind_path(path: Path, names: Mapping[str, Any] | None) -> Steps:
    """Return the steps of a path; a `#name` is one step, even with dots in it.

    Raises:
        NotUnderstoodError: a name is not defined, or is no name of an attribute.
    """
    return tuple(
        _name(step, names) if isinstance(step, str) and step[0] == "#" else step
        for step in path.steps
    )


def _name(placeholder: str, names: Mapping[str, Any] | None) -> str:
    name = names.get(placeholder) if isinstance(names, Mapping) else None
    if not is_name(name):
        raise NotUnderstoodError("an expression attribute name is not defined, or is no name")
    assert isinstance(name, str)
    return name


def is_name(name: object) -> bool:
    """Return whether an attribute can have this name."""
    if not isinstance(name, str) or not name:
        return False
    try:
        return len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False


def bind_value(value: Value, values: Mapping[str, Any] | None) -> AttributeValue:
    """Return the value of a placeholder.

    Raises:
        NotUnderstoodError: it is not defined, or DynamoDB may refuse it.
    """
    return constant(values.get(value.placeholder) if isinstance(values, Mapping) else None)
