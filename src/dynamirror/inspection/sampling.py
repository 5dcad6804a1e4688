"""The choice of the items that are inspected: the same in every process."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from dynamirror.errors import ConfigError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.records.key_codec import key_text

_BYTES: Final = 8
_ALL: Final = 1 << (8 * _BYTES)


def check_share(share: float) -> None:
    """Check a share of the items.

    Raises:
        ConfigError: it is not above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"a share must be more than 0 and at most 1, not {share:g}")


def canonical_key(item: Item, names: Sequence[str]) -> bytes:
    """Return a primary key as bytes that are equal for equal keys, in any spelling.

    Args:
        item: the item, or its primary key.
        names: names of the key attributes, partition key first.

    Raises:
        RecordError: an attribute is no key.
    """
    parts = (utf8(key_text(item[name])) for name in names)
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def key_hash(key: bytes) -> str:
    """Return the hash by which logs name an item, from its canonical key."""
    return blake2b(key, digest_size=_BYTES).hexdigest()


def is_sampled(key: bytes, share: float) -> bool:
    """Return whether an item belongs to a share of all items.

    A larger share has all items of a smaller one.

    Args:
        key: the canonical key of the item.
        share: more than 0, up to 1.
    """
    if share >= 1:
        return True
    number = int.from_bytes(blake2b(key, digest_size=_BYTES).digest(), "big")
    return number < share * _ALL
