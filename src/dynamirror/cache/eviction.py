"""What a full cache evicts, as far as the cache reports it."""

import re
from typing import Final

from dynamirror.cache.client import Cache
from dynamirror.errors import CacheError

_POLICY: Final = re.compile(rb"^maxmemory_policy:(\S+)", re.MULTILINE)


def policy(cache: Cache) -> str | None:
    """Return the `maxmemory-policy` of the cache; of several nodes' the one that evicts most.

    Returns None if a node does not report it: the user may lack the right, or the node is down.
    """
    try:
        reports = cache.broadcast(b"INFO", b"memory")
    except CacheError:
        return None
    found = [match[1].decode() for report in reports if (match := _POLICY.search(bytes(report)))]
    if len(found) < len(reports):
        return None
    return min(found, key=lambda name: (not evicts_entries(name), name))


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
