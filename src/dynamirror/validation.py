"""Validation errors as one sentence: the field, what it must be, and its value."""

import re
from typing import Annotated, Any, Final

import msgspec.inspect

_SCALARS = {"bool": "true or false", "int": "a whole number", "float": "a number"}
_LIMITS = {">": "above", "<": "below", ">=": "of at least", "<=": "of at most"}
_PATH: Final = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MOST_LETTERS: Final = 60  # of a value

# Text that is not empty.
Name = Annotated[str, msgspec.Meta(min_length=1)]


def explain_validation_error(message: str, names: tuple[str, ...]) -> str:
    """Turn msgspec's message into one that begins with the field and ends with the fix."""
    what, _, path = message.partition(" - at `")
    where = path.rstrip("`").removeprefix("$").lstrip(".")
    if unknown := re.search(r"unknown field `(.*)`", what):
        # Only an error needs it, and every start of a function would pay for it.
        from difflib import get_close_matches  # noqa: PLC0415

        # A field of another section may have that very name.
        others = [name for name in names if name != unknown[1]]
        near = get_close_matches(unknown[1], others, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
        field = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{field}: there is no such field; {hint}"
    if missing := re.search(r"missing required field `(.*)`", what):
        return f"{f'{where}.' if where else ''}{missing[1]}: is missing; set it"
    if invalid := re.search(r"Invalid enum value (.*)", what):
        known = "serverless, node-based"
        if where == "ELASTICACHE_CA":
            known = "system, amazon; the path of a PEM file belongs in ELASTICACHE_CA_FILE"
        return f"{where}: {invalid[1]} is not one of {known}"
    if scalar := re.fullmatch(
        r"Expected `(bool|int|float)`(?: ([<>]=?) (\S+))?(?:, got .*)?", what
    ):
        limit = f" {_LIMITS[scalar[2]]} {float(scalar[3]):g}" if scalar[2] else ""
        return f"{where}: must be {_SCALARS[scalar[1]]}{limit}"
    what = what[0].lower() + what[1:] if what.startswith("Expected") else what
    return f"{where}: {what}" if where else what


def explain(message: str, kind: type, document: Any) -> str:
    """Turn msgspec's message into a sentence that names the field and what it must be.

    Args:
        message: msgspec's message.
        kind: struct that the document was read as.
        document: the document.
    """
    if (where := field_of(message)) and where.startswith("key` in `"):
        where = where.removeprefix("key` in `$.")
        return f"{where}: has a name that is empty"
    found = _kind(kind, where or "")
    fields = getattr(_bare(found), "fields", ())
    if "unknown field" in message and fields:
        return explain_validation_error(message, tuple(field.name for field in fields))
    if where is None or found is None or not message.startswith(("Expected", "Invalid")):
        return explain_validation_error(message, ())
    where, value = _wrong(where, found, document)
    if brackets := _brackets(found, value, where):
        return f"{where}: write {brackets} on either side"
    return f"{where}: must be {_shape(found)}, not {_shown(value)}"


def field_of(message: str) -> str | None:
    """Return the dotted path in msgspec's message, or None if it has none."""
    path = message.partition(" - at `")[2].rstrip("`").removeprefix("$").lstrip(".")
    return path or None


def describe(kind: type, where: str) -> str | None:
    """Return what a field must be, in words; None if there is no such field.

    Args:
        kind: struct with the field.
        where: dotted path of the field.
    """
    found = _kind(kind, where)
    return None if found is None else _shape(found)


def is_flag(sections: type, section: str, field: str) -> bool:
    """Return whether a field is true or false."""
    return describe(sections, f"{section}.{field}") == "true or false"


def _kind(root: type, where: str) -> msgspec.inspect.Type | None:
    """Return the type at a path; None if there is none."""
    kind: msgspec.inspect.Type | None = msgspec.inspect.type_info(root)
    for name, _index in _PATH.findall(where):
        kind = _bare(kind)
        if name and isinstance(kind, msgspec.inspect.StructType):
            kind = next((field.type for field in kind.fields if field.name == name), None)
        elif not name and isinstance(kind, msgspec.inspect.ListType):
            kind = kind.item_type
        elif not name and isinstance(kind, msgspec.inspect.DictType):
            kind = kind.value_type
        else:
            return None
    return kind


def _bare(kind: msgspec.inspect.Type | None) -> msgspec.inspect.Type | None:
    """Return a type without its description, and without None in its place."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _bare(inner)
        case msgspec.inspect.UnionType(types=types):
            return next((_bare(choice) for choice in types if not _is_none(choice)), None)
    return kind


def _is_none(kind: msgspec.inspect.Type | None) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _shape(kind: msgspec.inspect.Type) -> str:  # noqa: PLR0911 - one for each type
    """Return what a value must be, in words."""
    match kind:
        case msgspec.inspect.Metadata(type=inner, extra_json_schema=extra):
            return str((extra or {}).get("description") or _shape(inner))
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_shape(choice) for choice in types if not _is_none(choice))
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            limits = f" from {low} to {high}" if high is not None else f" from {low} on"
            return f"a whole number{'' if low is None else limits}"
        case msgspec.inspect.LiteralType(values=values):
            names = [str(value) for value in values]
            return f"{', '.join(names[:-1])} or {names[-1]}"
        case msgspec.inspect.StrType():
            return "text, and not empty"
        case msgspec.inspect.ListType(item_type=item, min_length=least):
            return f"a list{', and not empty' if least else ''}, each of it {_shape(item)}"
        case msgspec.inspect.DictType(value_type=value):
            is_free = isinstance(value, msgspec.inspect.AnyType)
            return f"a table of fields{'' if is_free else f', each of it {_shape(value)}'}"
        case msgspec.inspect.StructType():
            return "a section of fields"
    return "a number"


def _brackets(kind: msgspec.inspect.Type, value: Any, where: str) -> str | None:
    """Return how to write a section that is written as if it were repeated, or the reverse."""
    name = re.sub(r"\[\d+\]", "", where)
    match _bare(kind), value:
        case msgspec.inspect.ListType(item_type=msgspec.inspect.StructType()), _:
            return f"[[{name}]], with two brackets"
        case ((msgspec.inspect.StructType() | msgspec.inspect.DictType()), [dict(), *_]):
            return f"[{name}], with one bracket"
    return None


def _wrong(where: str, kind: msgspec.inspect.Type, document: Any) -> tuple[str, Any]:
    """Return where a wrong value is, with the name that msgspec leaves out, and the value."""
    table = where.removesuffix("[...]")
    if table == where:
        return where, _value(document, where)
    allowed = getattr(_bare(kind), "values", None)
    return next(
        (f"{table}.{name}", value)
        for name, value in _value(document, table).items()
        if not isinstance(value, str) or not value or (allowed and value not in allowed)
    )


def _value(document: Any, where: str) -> Any:
    for name, index in _PATH.findall(where):
        try:
            document = document[name] if name else document[int(index)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return document


def _shown(value: Any) -> str:
    """Return a value of a file nearly as it stands there."""
    match value:
        case str():
            text = repr(value)
        case bool():
            text = str(value).lower()
        case _:
            text = str(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"
