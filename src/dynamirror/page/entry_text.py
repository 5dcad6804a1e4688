"""Render keys and values of entries for people."""

import re
from typing import Any

import msgspec

from dynamirror.views.encoding import ValueType, pack_fields, unpack_fields
from dynamirror.views.view import View

_LONGEST_TEXT = 240
# Recent timestamps differ in their time, so the date and UTC are left out.
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([0-9:.]+)(?:Z|\+00:00)")


def value_text(value: bytes | None, view: View) -> str | None:
    """Return an entry's value without its key attributes, shortened, or None for no entry."""
    if value is None:
        return None
    fields = _fields(value, view)
    if fields is None:
        text = value.decode(errors="replace")
    else:
        others = {name: field for name, field in fields.items() if name not in view.schema.keys}
        text = ", ".join(f"{name} {_plain(field)}" for name, field in (others or fields).items())
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def natural_order(key: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that puts 10 after 9."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", key)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def _fields(value: bytes, view: View) -> dict[str, Any] | None:
    if view.encoding.layout is ValueType.HASH:
        parts = unpack_fields(value)
        fields = dict(zip(parts[::2], parts[1::2], strict=False))
        if pack_fields(fields) != value:
            return None
        return {
            name.decode(errors="replace"): field.decode(errors="replace")
            for name, field in fields.items()
        }
    try:
        document = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
    return document if isinstance(document, dict) and document else None


def _plain(value: Any) -> str:
    text = value if value and isinstance(value, str) else msgspec.json.encode(value).decode()
    timestamp = _TIMESTAMP.fullmatch(text)
    return timestamp[1] if timestamp else text
