"""The JSON records that dynamirror stores in the cache: one codec, and one reading of damage."""

import functools
import logging
from typing import TypeVar

import msgspec

logger = logging.getLogger("dynamirror")

T = TypeVar("T")

encode_record = msgspec.json.Encoder().encode


def decode_record(
    text: bytes | None, kind: type[T], name: str, *, reading: str = "it is ignored"
) -> T | None:
    """Return a stored record; None where there is none, or where it is damaged.

    Args:
        text: the stored JSON.
        kind: the type of the record.
        name: the name of the record in the log, without item data: its key, and its field if any.
        reading: how the caller reads a damaged record, for the log.
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        report_damage(name, text, reading)
        return None


@functools.lru_cache(maxsize=256)
def report_damage(name: str, _stored: bytes, reading: str) -> None:
    """Log that a stored record is damaged, once for as long as it is not replaced."""
    reason = f"what is stored cannot be read; {reading}"
    logger.warning("stored record damaged", extra={"record": name, "reason": reason})
