"""What nodes of the same size cost: of DAX, and of a cache beside the mirror."""

from collections.abc import Sequence
from math import ceil

import msgspec

from dynamirror.costs import prices
from dynamirror.costs.model import CACHE, monthly, total
from dynamirror.costs.prices import HOURS, NodeType
from dynamirror.costs.workload import Workload

_GIB = 2**30
# ElastiCache reserves a quarter of a node's memory by default; DAX needs room, too.
_USABLE = 0.75
_CACHE_NODES = 2  # a primary and a replica in another zone
_DAX_NODES = 3  # AWS advises at least three in production


class Alternative(msgspec.Struct, frozen=True):
    """Another way to cache the table.

    Args:
        name: what it is.
        dollars: dollars a month.
        quantity: its nodes.
    """

    name: str
    dollars: float
    quantity: str


def alternatives(work: Workload) -> list[Alternative]:
    """Return what the alternatives to the mirror on ElastiCache Serverless cost a month."""
    parts = monthly(work)
    other = total([part for part in parts if not part.name.startswith(CACHE)])
    other -= total([part for part in parts if part.name == "auditor: scans of the cache"])
    nodes, dollars = _nodes(prices.CACHE_NODES, work.entry_bytes + work.fence_bytes, _CACHE_NODES)
    dax, dax_dollars = _nodes(prices.DAX_NODES, work.items * work.item_bytes, _DAX_NODES)
    return [
        Alternative("this mirror", total(parts), "ElastiCache Serverless"),
        Alternative("this mirror with a node-based cache", other + dollars, nodes),
        Alternative("DAX, without misses and writes", dax_dollars, dax),
    ]


def _nodes(types: Sequence[NodeType], size: float, copies: int) -> tuple[str, float]:
    """Return the cheapest nodes that hold a number of bytes, and their price a month."""
    fitting = [node for node in types if node.gib * _GIB * _USABLE >= size]
    if fitting:
        node, shards = min(fitting, key=lambda node: node.hourly), 1
    else:
        node = types[-1]
        shards = ceil(size / (node.gib * _GIB * _USABLE))
    return f"{shards * copies} nodes {node.name}", shards * copies * node.hourly * HOURS
