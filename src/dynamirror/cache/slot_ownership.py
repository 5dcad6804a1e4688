"""Which slots a node holds, as it reports itself."""

from typing import Final

import msgspec

from dynamirror.cache.slot_map import Node

# id, address, flags, primary, ping sent, pong received, epoch, link: then the slots.
# https://valkey.io/commands/cluster-nodes/
_FLAGS: Final = 2
_EPOCH: Final = 6
_SLOTS: Final = 8


class Ownership(msgspec.Struct, frozen=True):
    """The slots of one node.

    A node that takes a slot raises its configuration epoch. So two equal reports mean that no slot
    left and came back in between.

    Args:
        id: the node's id.
        epoch: its configuration epoch.
        slots: its slots as it writes them, with those that move key by key.
        addresses: of all nodes, by id, if slots move key by key.
    """

    id: bytes = b""
    epoch: bytes = b""
    slots: tuple[bytes, ...] = ()
    addresses: dict[bytes, bytes] = {}

    @classmethod
    def parse(cls, text: bytes) -> "Ownership":
        """Read a node's answer to CLUSTER NODES."""
        lines = text.splitlines()
        for line in lines:
            fields = line.split()
            if len(fields) >= _SLOTS and b"myself" in fields[_FLAGS].split(b","):
                addresses = {}
                if b"[" in line:
                    others = (other.split() for other in lines)
                    addresses = {other[0]: other[1] for other in others if len(other) >= _SLOTS}
                return cls(fields[0], fields[_EPOCH], tuple(fields[_SLOTS:]), addresses)
        return cls()

    def holds(self, first: int, last: int) -> bool:
        """Return whether the node holds all slots from the first to the last."""
        for words in self.slots:
            if not words.startswith(b"["):
                begin, _, end = words.partition(b"-")
                if int(begin) <= first and last <= int(end or begin):
                    return True
        return False

    def leaving(self) -> dict[int, bytes]:
        """Return the slots that leave the node key by key, and the ids of the nodes they go to."""
        return self._moving(b"->-")

    def arriving(self) -> dict[int, bytes]:
        """Return the slots that come key by key, and the ids of the nodes they come from."""
        return self._moving(b"-<-")

    def _moving(self, way: bytes) -> dict[int, bytes]:
        """Read [slot->-id], on its way to that node, or [slot-<-id], which comes from it."""
        found = (word.strip(b"[]").partition(way) for word in self.slots if word.startswith(b"["))
        return {int(slot): other for slot, _, other in found if other}

    def node(self, other: bytes, *, near: Node) -> Node | None:
        """Return the address of another node; None if it is not known.

        Args:
            other: the id of that node.
            near: the node that reported it.
        """
        text = self.addresses.get(other)
        if text is None:
            return None
        # ip:port@bus,hostname, and perhaps more names as key=value
        address, *names = text.split(b",")
        host, _, port = address.partition(b"@")[0].rpartition(b":")
        host = next((name for name in names if name and b"=" not in name), host)
        return Node(host.decode().replace("?", "") or near.host, int(port))
