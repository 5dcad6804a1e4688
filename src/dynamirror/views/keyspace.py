"""Every key that dynamirror reserves in the cache."""

# Everything of our own lives under this name: fences, positions, quarantine.
RESERVED = "dynamirror:"


def fence_key(key: str) -> str:
    """The key of an entry's fence: in the entry's own hash slot, never another entry's.

    A template renders either no brace at all or one well-formed hash tag that is not the whole
    key, so `dynamirror:fence:{a}` is the fence of `a` and of nothing else.
    """
    return f"{RESERVED}fence:{key}" if "{" in key else f"{RESERVED}fence:{{{key}}}"


def glob(text: str) -> str:
    """The pattern, for SCAN or an access string, that fits a text and nothing else."""
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)


def completeness_marker_key(table: str) -> str:
    """The hash that holds a mirror's marker."""
    return f"{RESERVED}{{{table}}}:mirror"


def quarantine_key(table: str) -> str:
    """The hash that holds a table's quarantine, by item."""
    return f"{RESERVED}{{{table}}}:quarantine"


def overflow_key(table: str) -> str:
    """The counter of what a full quarantine had no room for."""
    return f"{quarantine_key(table)}:overflow"


def audit_key(table: str) -> str:
    """Return the key of the hash that holds the number of the next part and the last result."""
    return f"{RESERVED}{{{table}}}:audit"


def rebuild_key(table: str) -> str:
    """The hash that holds the newest rebuild of a table, by segment."""
    return f"{RESERVED}{{{table}}}:rebuild"


def canary_key(table: str) -> str:
    """The key of the cache that holds the canary."""
    return f"{RESERVED}{{{table}}}:canary"
