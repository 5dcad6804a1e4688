"""The JSON records that dynamirror keeps in the cache: one codec, and one reading of damage."""

import logging
from typing import TypeVar

import msgspec

logger = logging.getLogger("dynamirror")

T = TypeVar("T")

encode_record = msgspec.json.Encoder().encode


def decode_record(text: bytes | None, kind: type[T], name: str) -> T | None:
    """Return a stored record; None where there is none, or it is damaged, which is logged.

    Args:
        text: as it was stored.
        kind: type of the record.
        name: what it is, for the log, such as the key and the field.
    """
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        reason = "it is read as if it were not there"
        logger.warning("stored record damaged", extra={"record": name, "reason": reason})
        return None
