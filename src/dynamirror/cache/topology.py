"""Which node of a cluster holds which slots, as the nodes themselves report it."""

from math import inf
from typing import Any, Final, NamedTuple

import msgspec

# id, address, flags, primary, ping sent, pong received, epoch, link: then the slots.
# https://valkey.io/commands/cluster-nodes/
_EPOCH: Final = 6
_SLOTS: Final = 8


class NodeReport(NamedTuple):
    """What one node reports.

    Args:
        itself: its id, its configuration epoch, and its slots.
        holders: id and slots of every node that holds slots.
        moving: id of the other node of every slot that moves key by key, to or from it.
    """

    itself: tuple[bytes, ...] = ()
    holders: frozenset[tuple[bytes, ...]] = frozenset()
    moving: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, text: bytes) -> "NodeReport":
        """Read the answer to CLUSTER NODES."""
        itself: tuple[bytes, ...] = ()
        holders, moving = set[tuple[bytes, ...]](), list[bytes]()
        for line in text.splitlines():
            fields = line.split()
            slots = tuple(one for one in fields[_SLOTS:] if not one.startswith(b"["))
            if slots:
                holders.add((fields[0], *slots))
            if len(fields) >= _SLOTS and b"myself" in fields[2].split(b","):
                itself = (fields[0], fields[_EPOCH], *slots)
                # [slot->-id] is on its way to that node, [slot-<-id] comes from it.
                half = (one for one in fields[_SLOTS:] if one.startswith(b"["))
                moving += [one.rstrip(b"]").rpartition(b"-")[2] for one in half]
        return cls(itself, frozenset(holders), tuple(moving))


class Topology(msgspec.Struct, frozen=True):
    """Which node holds which slots at one moment.

    A node that takes a slot from another raises its configuration epoch, so two equal layouts mean
    that no slot left and came back in between.

    Args:
        nodes: the nodes that hold slots.
        reports: what each of them reports.
    """

    nodes: tuple[Any, ...]
    reports: tuple[NodeReport, ...]

    @property
    def passes(self) -> float:
        """Return how many passes over all nodes see every key while the layout stays the same.

        One while no slot moves. Two while slots move key by key, since a key that moved to a node
        already passed is there in the second pass. No number suffices while the nodes disagree, or
        while a slot moves to a node that holds none yet, because that node is not listed.
        """
        if len({report.holders for report in self.reports}) > 1:
            return inf
        moving = {other for report in self.reports for other in report.moving}
        known = {holder[0] for report in self.reports for holder in report.holders}
        if not moving <= known:
            return inf
        return 2 if moving else 1
