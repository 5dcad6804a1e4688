"""What a full cache evicts, as far as its nodes report it."""

import re
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.errors import CacheError

_FIELD: Final = re.compile(
    r"^(run_id|used_memory|maxmemory|maxmemory_policy|evicted_keys):(\S+)", re.MULTILINE
)
# A node that uses more of its limit may soon evict, and more so while a mirror is rebuilt.
_FULL: Final = 0.9


class NodeMemory(msgspec.Struct, frozen=True):
    """What one node reports of its memory; None for what it does not report.

    Args:
        run_id: names the process; another one counts from 0.
        maxmemory: limit in bytes; 0 for none.
        maxmemory_policy: what a full node evicts.
        evicted_keys: keys that the process has evicted.
        used_memory: bytes in use.
    """

    run_id: str | None = None
    maxmemory: int | None = None
    maxmemory_policy: str | None = None
    evicted_keys: int | None = None
    used_memory: int | None = None


def read_memory(cache: Cache) -> list[NodeMemory]:
    """Return what each node reports; nothing if the user lacks the right, or a node is down."""
    try:
        reports = cache.broadcast(b"INFO")
    except CacheError:
        return []
    return [_parse(bytes(report).decode(errors="replace")) for report in reports]


def _parse(report: str) -> NodeMemory:
    fields = dict(_FIELD.findall(report))
    try:
        return msgspec.convert(fields, NodeMemory, strict=False)
    except msgspec.ValidationError:
        return NodeMemory()


def policy(nodes: list[NodeMemory]) -> str | None:
    """Return the `maxmemory-policy` of the nodes, and of several the one that evicts most.

    Returns None if a node does not report it.
    """
    found = [node.maxmemory_policy for node in nodes if node.maxmemory_policy]
    if not found or len(found) < len(nodes):
        return None
    return min(found, key=lambda name: (not evicts_entries(name), name))


def limit(nodes: list[NodeMemory]) -> int | None:
    """Return how many bytes the nodes hold together; None for no limit, or none that is known."""
    limits = [node.maxmemory or 0 for node in nodes]
    return sum(limits) if limits and all(limits) else None


def is_full(nodes: list[NodeMemory]) -> bool:
    """Return whether a node reports that it uses nearly all of its memory."""
    share = memory_share(nodes)
    return share is not None and share > _FULL


def memory_share(nodes: list[NodeMemory]) -> float | None:
    """Return the share of its limit that the fullest node uses; None if no limit is known."""
    return max(
        (
            node.used_memory / node.maxmemory
            for node in nodes
            if node.maxmemory and node.used_memory
        ),
        default=None,
    )


def evicts_entries(name: str) -> bool:
    """Return whether a policy evicts keys without an expiry: entries, marker and positions."""
    return name.startswith("allkeys-")


def warning(name: str | None) -> str | None:
    """Return what is wrong with a policy, and what to do; None if nothing is."""
    if name is None or not evicts_entries(name):
        return None
    return (
        f"the cache evicts any key when it is full (maxmemory-policy {name}): entries can vanish "
        "unnoticed, and so can the mirror's marker and positions; set maxmemory-policy to "
        "noeviction, then rebuild"
    )
