"""How an item becomes the bytes of an entry."""

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from dynamirror.records.attribute_value import Item, plain_map, raw, to_json, typed_map, utf8


class ValueType(StrEnum):
    """What kind of Valkey value an entry is."""

    STRING = "string"
    HASH = "hash"


class Encoding(msgspec.Struct, frozen=True):
    """A way to write items.

    Args:
        name: what `mirror.toml` calls it.
        layout: the kind of Valkey value that is written.
        encode: item to bytes (a hash's as `pack_fields` makes them, for scripts/put_hash.lua), or
            None where the item lacks what the encoding needs; raises RecordError where the item
            cannot be written.
        attributes: all that is needed of an item; None for the whole of it.
    """

    name: str
    layout: ValueType
    encode: Callable[[Item], bytes | None]
    attributes: frozenset[str] | None = None


def _json(item: Item) -> bytes:
    return to_json(plain_map(item))


def _dynamodb_json(item: Item) -> bytes:
    return to_json(typed_map(item))


def _hash(item: Item) -> bytes:
    return pack_fields({utf8(name): raw(value) for name, value in item.items()})


def pack_fields(fields: Mapping[bytes, bytes]) -> bytes:
    """Return a hash as scripts/put_hash.lua reads it, with sorted fields."""
    parts = [part for name in sorted(fields) for part in (name, fields[name])]
    head = len(parts).to_bytes(4, "big")
    return head + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def unpack_fields(packed: bytes) -> list[bytes]:
    """Return alternating fields and values, as HGETALL does, of a packed hash."""
    parts: list[bytes] = []
    at = 4
    while at < len(packed):
        begin = at + 4
        at = begin + int.from_bytes(packed[at:begin], "big")
        parts.append(packed[begin:at])
    return parts


JSON = Encoding("json", ValueType.STRING, _json)
DYNAMODB_JSON = Encoding("dynamodb-json", ValueType.STRING, _dynamodb_json)
HASH = Encoding("hash", ValueType.HASH, _hash)


def attribute(name: str) -> Encoding:
    """Return the encoding of one attribute's raw value; without it, an item has no entry."""

    def encode(item: Item) -> bytes | None:
        value = item.get(name)
        return None if value is None else raw(value)

    return Encoding("attribute", ValueType.STRING, encode, frozenset({name}))
