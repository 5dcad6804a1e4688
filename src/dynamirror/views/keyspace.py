"""The names of all keys that dynamirror reserves in the cache."""

# The prefix of every reserved key.
RESERVED = "dynamirror:"
# That of the keys in which the mirror of a table keeps its state.
STATE = f"{RESERVED}{{".encode()


def escape_glob(text: str) -> str:
    """Return a glob pattern, for SCAN or an access string, that matches only this text."""
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in text)


# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/quota-limits.html
SERVERLESS_KEY_BYTES = 4_096
# What a fence's key has more than its entry's: with an entry's own hash tag, and without.
FENCE_BYTES = len(f"{RESERVED}fence:")
LONGEST_FENCE_BYTES = FENCE_BYTES + len("{}")


def fence_key(key: str) -> str:
    """Return the key of an entry's fence, which is in the entry's hash slot.

    Two entries never share a fence. A template renders no brace, or one well-formed hash tag that
    is not the whole key. So only the entry `a` has the fence `dynamirror:fence:{a}`.
    """
    return f"{RESERVED}fence:{key}" if "{" in key else f"{RESERVED}fence:{{{key}}}"


def completeness_marker_key(table: str) -> str:
    """Return the key of the hash that holds a mirror's completeness marker."""
    return f"{RESERVED}{{{table}}}:mirror"


def quarantine_key(table: str) -> str:
    """Return the key of the hash that holds a table's quarantine, by item."""
    return f"{RESERVED}{{{table}}}:quarantine"


def overflow_key(table: str) -> str:
    """Return the key that counts the items for which the quarantine had no room."""
    return f"{quarantine_key(table)}:overflow"


def checkpoints_key(table: str, epoch: int) -> str:
    """Return the key of the hash that holds the checkpoints of a stream, by shard.

    Args:
        table: the table's name.
        epoch: the creation of the stream, in milliseconds since 1970.
    """
    return f"{RESERVED}{{{table}}}:positions:{epoch}"


def audit_key(table: str) -> str:
    """Return the key of the hash that holds the number of the next part and the last result."""
    return f"{RESERVED}{{{table}}}:audit"


def evictions_key(table: str) -> str:
    """Return the key of the hash that holds what was noticed of the cache's evictions."""
    return f"{RESERVED}{{{table}}}:evictions"


def rebuild_key(table: str) -> str:
    """Return the key of the hash that holds a table's newest rebuild, by segment."""
    return f"{RESERVED}{{{table}}}:rebuild"


def given_up_key(table: str) -> str:
    """Return the key of the watchdog's note that it starts no further rebuild."""
    return f"{RESERVED}{{{table}}}:given-up"


def long_job_key(table: str, job: str) -> str:
    """Return the key of the note about a job that takes long."""
    return f"{RESERVED}{{{table}}}:long-job:{job}"


def verification_key(table: str, verification: str, part: int) -> str:
    """Return the key of the result of one part of a verification."""
    return f"{RESERVED}{{{table}}}:verification:{verification}:{part}"


def heartbeats_key(table: str) -> str:
    """Return the key of the hash that holds the newest heartbeat of each replicator."""
    return f"{RESERVED}{{{table}}}:heartbeats"


def lease_key(table: str) -> str:
    """Return the key of the lease: which of several processes replicates the table."""
    return f"{RESERVED}{{{table}}}:lease"


def inspection_key(table: str) -> str:
    """Return the key of the hash that holds the tally of each process that inspects a table."""
    return f"{RESERVED}{{{table}}}:inspection"


def canary_key(table: str) -> str:
    """Return the key of the canary's entry."""
    return f"{RESERVED}{{{table}}}:canary"


def probe_key(table: str) -> str:
    """Return a key that never exists: reading it shows whether the cache can be reached."""
    return f"{RESERVED}{{{table}}}:nothing"
