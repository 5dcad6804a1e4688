"""Escaping of the values that stand in keys."""

import re
from functools import lru_cache

from dynamirror.views.keyspace import RESERVED

_ASIDE = f"%{ord(RESERVED[0]):02X}"
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")


@lru_cache(maxsize=256)
def any_of(letters: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of the letters to escape."""
    return re.compile(f"[{re.escape(''.join(sorted(letters)))}]")


def escape(text: str, letters: re.Pattern[str]) -> str:
    """Return how a value's text stands in a key."""
    return letters.sub(percent, text) or "%"


def unescaped(part: str) -> str:
    """Return the unescaped text; raises UnicodeDecodeError if it is not UTF-8."""
    if part == "%":
        return ""
    return _ESCAPES.sub(lambda match: bytes.fromhex(match[0].replace("%", "")).decode(), part)


def percent(match: re.Match[str]) -> str:
    """Return the letters of a match, each byte as `%XX`."""
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def step_aside(key: str) -> str:
    """Keep a key out of our own name space; nothing else ever escapes its first letter."""
    return _ASIDE + key[1:]


def step_back(key: str) -> str:
    """Return the key that stepped aside; any other as it is."""
    aside = step_aside(RESERVED)
    return RESERVED + key.removeprefix(aside) if key.startswith(aside) else key


def own_space(key: str) -> str:
    """Return a key that is not in our own name space."""
    return step_aside(key) if key.startswith(RESERVED) else key
