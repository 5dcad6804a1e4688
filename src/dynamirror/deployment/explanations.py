"""Sentences about wrong values of a deployment: the field, what it must be, and its value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec.inspect

from dynamirror.validation import explain_validation_error

_PATH: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def explain(message: str, sections: type, document: Mapping[str, Any]) -> str:
    """Turn msgspec's message into a sentence that names the field and what it must be.

    Args:
        message: msgspec's message.
        sections: struct that the document was read as.
        document: the document.
    """
    where = field_of(message)
    if where is None:
        return explain_validation_error(message, ())
    kind = _kind(sections, where)
    if "unknown field" in message and isinstance(kind, msgspec.inspect.StructType):
        return explain_validation_error(message, tuple(field.name for field in kind.fields))
    shape = None if kind is None else _shape(kind)
    if shape is None or not message.startswith(("Expected", "Invalid")):
        return explain_validation_error(message, ())
    return f"{where}: must be {shape}, not {_value(document, where)!r}"


def field_of(message: str) -> str | None:
    """Return the dotted path in msgspec's message, or None if it has none."""
    path = message.partition(" - at `")[2].rstrip("`").removeprefix("$").lstrip(".")
    return path or None


def describe(kind: type, where: str) -> str | None:
    """Return what a field must be, in words; None if there are none.

    Args:
        kind: struct with the field.
        where: dotted path of the field.
    """
    found = _kind(kind, where)
    return None if found is None else _shape(found)


def is_flag(sections: type, section: str, field: str) -> bool:
    """Return whether a field is true or false."""
    return describe(sections, f"{section}.{field}") == "true or false"


def _kind(sections: type, where: str) -> msgspec.inspect.Type | None:
    """Return the type at a path; None if there is none."""
    kind: msgspec.inspect.Type | None = msgspec.inspect.type_info(sections)
    for name, _index in _PATH.findall(where):
        (kind,) = [choice for choice in _choices(kind) if not _is_none(choice)][:1] or (None,)
        if name and isinstance(kind, msgspec.inspect.StructType):
            kind = next((field.type for field in kind.fields if field.name == name), None)
        elif isinstance(kind, msgspec.inspect.ListType):
            kind = kind.item_type
        else:
            return None
    return kind


def _choices(kind: msgspec.inspect.Type | None) -> Sequence[msgspec.inspect.Type | None]:
    return kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)


def _is_none(kind: msgspec.inspect.Type | None) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _shape(kind: msgspec.inspect.Type) -> str | None:
    """Return what a value must be, in words; None where msgspec says it best."""
    shape = None
    match kind:
        case msgspec.inspect.Metadata(type=inner, extra_json_schema=extra):
            shape = (extra or {}).get("description") or _shape(inner)
        case msgspec.inspect.UnionType(types=types):
            shapes = [_shape(choice) for choice in types if not _is_none(choice)]
            shape = " or ".join(shape for shape in shapes if shape)
        case msgspec.inspect.BoolType():
            shape = "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            limits = f" from {low} to {high}" if high is not None else f" from {low} on"
            shape = f"a whole number{'' if low is None else limits}"
        case msgspec.inspect.LiteralType(values=values):
            names = [str(value) for value in values]
            shape = f"{', '.join(names[:-1])} or {names[-1]}"
        case msgspec.inspect.StrType():
            shape = "text, and not empty"
        case msgspec.inspect.ListType(item_type=item):
            shape = f"a list, each of it {_shape(item)}"
        case msgspec.inspect.StructType():
            shape = "a section of fields"
    return shape


def _value(document: Any, where: str) -> Any:
    for name, index in _PATH.findall(where):
        try:
            document = document[name] if name else document[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return document
