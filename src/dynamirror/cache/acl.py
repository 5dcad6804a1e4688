"""Access strings of least privilege for the users of a cache, one user for each role.

A string names single commands, never a category. ElastiCache accepts every rule used here: it
refuses passwords, `reset`, and commands that it has disabled.
https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Clusters.RBAC.html
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from dynamirror.views import keyspace


class Role(StrEnum):
    """What a user of the cache does."""

    REPLICATOR = "replicator"
    """The function that applies stream records."""
    OPERATOR = "operator"
    """The operator's commands, rebuilds and `dynamirror run`."""
    AUDITOR = "auditor"
    """The function that compares the table with the cache, and repairs it."""
    CANARY = "canary"
    """The function that looks for its own write in the cache."""
    INSPECTOR = "inspector"
    """The function that asks the cache, as an application does, whether it shows a change."""
    READER = "reader"
    """Applications that read, with `Reader` or any client."""


# What any of our connections to a cluster sends. A node asks for `asking` while slots move.
_CLUSTER: Final = frozenset({"asking", "cluster|slots"})

# Sent by the scripts that write entries, and to run them. Valkey checks the commands within a
# script as those of the user.
_WRITE: Final = frozenset(
    {
        "evalsha",
        "expireat",
        "get",
        "hdel",
        "hget",
        "hkeys",
        "hlen",
        "hset",
        "persist",
        "script|load",
        "set",
        "unlink",
        "zadd",
        "zrem",
    }
)

# Sent to compare entries with items, and to find entries without an item.
_COMPARE: Final = frozenset(
    {
        "cluster|countkeysinslot",
        "cluster|getkeysinslot",
        "cluster|nodes",
        "expiretime",
        "scan",
        "zscan",
        "zscore",
    }
)

# Sent by mainstream clients when they connect to a cluster: `ping` by GLIDE, `command` by redis-py
# and valkey-py, `info` and `cluster|info` by ioredis and iovalkey, `cluster|nodes` by Lettuce. Most
# name their connections. `auth` and `hello` need no grant.
_CONNECT: Final = frozenset(
    {
        "client|setinfo",
        "client|setname",
        "cluster|info",
        "cluster|nodes",
        "command",
        "info",
        "ping",
        "readonly",
    }
)

# Sent by readers. `time` gives the age of heartbeats, by the clock that dates them. The sorted sets
# of collections, indexes and boards have commands of their own.
_READ: Final = frozenset(
    {
        "exists",
        "get",
        "hget",
        "hgetall",
        "hmget",
        "mget",
        "strlen",
        "time",
        "zcard",
        "zcount",
        "zlexcount",
        "zrange",
        "zrangebyscore",
        "zrank",
        "zrevrange",
        "zrevrangebyscore",
        "zrevrank",
        "zscore",
    }
)

COMMANDS: Final[Mapping[Role, frozenset[str]]] = MappingProxyType(
    {
        Role.REPLICATOR: _CLUSTER | _WRITE | {"hgetall", "incr", "time"},
        Role.OPERATOR: _CLUSTER
        | _WRITE
        | _COMPARE
        | {"decrby", "hgetall", "hmget", "incr", "info", "time"},
        Role.AUDITOR: _CLUSTER | _WRITE | _COMPARE | {"hgetall", "hmget", "info", "time"},
        Role.CANARY: _CLUSTER | {"get", "hgetall", "hlen"},
        Role.INSPECTOR: _CLUSTER | {"expiretime", "get", "hgetall", "zscore"},
        Role.READER: _CLUSTER | _CONNECT | _READ,
    }
)


# Roles that write nothing.
_READ_ONLY: Final = frozenset({Role.INSPECTOR, Role.READER})


def access_string(role: Role, *, patterns: Iterable[str], tables: Sequence[str]) -> str:
    """Return the access string of the user that has a role.

    Args:
        role: what the user does.
        patterns: glob patterns of the keys that the tables' views write, each a prefix and `*`.
        tables: names of the tables that the user serves.
    """
    globs = tuple(dict.fromkeys(patterns))
    if "*" in globs and role is not Role.CANARY:
        # Valkey refuses any other pattern beside that of all keys.
        keys = ["%R~*" if role in _READ_ONLY else "~*"]
    else:
        keys = list(dict.fromkeys(_key_rules(role, globs, tables)))
    commands = (f"+{command}" for command in sorted(COMMANDS[role]))
    return " ".join(("on", *keys, "-@all", *commands))


def _key_rules(role: Role, globs: Sequence[str], tables: Sequence[str]) -> Iterator[str]:
    if role is not Role.CANARY:
        entries = "%R~" if role in _READ_ONLY else "~"
        for glob in globs:
            yield f"{entries}{glob}"
            yield from (f"{entries}{fence}" for fence in _fences(glob))
    for table in tables:
        yield from _state_rules(role, table)


def _fences(glob: str) -> Iterator[str]:
    """Return the patterns of the fences of all keys that a pattern matches."""
    if "{" not in glob:
        # The key itself may have a hash tag behind the prefix.
        yield keyspace.fence_key(glob)
    yield f"{keyspace.RESERVED}fence:{glob}"


def _state_rules(role: Role, table: str) -> Iterator[str]:
    """Return the rules for the keys in which the mirror of a table keeps its state."""
    mirror = keyspace.completeness_marker_key(table)
    quarantine = keyspace.quarantine_key(table)
    canary = keyspace.canary_key(table)
    match role:
        case Role.REPLICATOR:
            written = (mirror, quarantine, keyspace.overflow_key(table))
            yield from (f"~{key}" for key in (*written, keyspace.heartbeats_key(table)))
            yield from (f"~{canary}", f"~{keyspace.fence_key(canary)}")
        case Role.OPERATOR:
            yield f"~{keyspace.RESERVED}{{{table}}}:*"
            yield f"~{keyspace.fence_key(canary)}"
        case Role.AUDITOR:
            yield f"%R~{keyspace.RESERVED}{{{table}}}:*"
            # A script that only reads needs the right to write, too.
            own = (keyspace.audit_key(table), keyspace.evictions_key(table))
            yield from (f"~{key}" for key in own)
            yield f"~{keyspace.long_job_key(table, 'audit')}"
            yield f"~{keyspace.heartbeats_key(table)}"
        case Role.CANARY:
            yield from (f"%R~{key}" for key in (mirror, quarantine, canary))
        case Role.INSPECTOR:
            pass  # the entries and their fences are all that it reads
        case Role.READER:
            yield from (f"%R~{key}" for key in (mirror, keyspace.heartbeats_key(table)))
