"""The cache of a run: one node that holds all slots, or several."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import monotonic, sleep
from typing import Any

import msgspec
from valkey import Valkey

from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import DynamirrorError

_SLOTS = 16_384
_PATIENCE_SECONDS = 60.0


class ServerUse(msgspec.Struct, frozen=True):
    """What the servers have used since they started.

    Args:
        cpu_seconds: CPU time in seconds.
        scripts: number of scripts that were run.
        megabytes: data received and sent in MB.
        memory_mb: memory in MB, now.
        keys: number of keys, now.
    """

    cpu_seconds: float
    scripts: int
    megabytes: float
    memory_mb: float
    keys: int


class Servers:
    """The nodes of a cache.

    Args:
        nodes: the nodes.
    """

    def __init__(self, nodes: Sequence[EmbeddedValkey]) -> None:
        self.settings = nodes[0].settings(timeout=20.0)
        self.clients: list[Any] = [Valkey(host=HOST, port=node.port) for node in nodes]
        self.count = len(nodes)

    def use(self) -> ServerUse:
        """Return what all nodes have used."""
        cpu = data = memory = 0.0
        keys = scripts = 0
        for client in self.clients:
            info = client.info("everything")
            cpu += info["used_cpu_user"] + info["used_cpu_sys"]
            data += info["total_net_input_bytes"] + info["total_net_output_bytes"]
            memory += info["used_memory"]
            keys += client.dbsize()
            scripts += client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        return ServerUse(
            cpu_seconds=cpu,
            scripts=scripts,
            megabytes=data / 1e6,
            memory_mb=memory / 1e6,
            keys=keys,
        )

    def flush(self) -> None:
        """Delete all keys."""
        for client in self.clients:
            client.flushall(asynchronous=False)

    def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            client.close()


@contextmanager
def servers(count: int) -> Iterator[Servers]:
    """Start a cluster of some nodes.

    Args:
        count: number of nodes.

    Raises:
        DynamirrorError: the nodes did not find each other.
    """
    bounds = [_SLOTS * index // count for index in range(count + 1)]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(EmbeddedValkey(slots=(bounds[index], bounds[index + 1] - 1)))
            for index in range(count)
        ]
        found = Servers(nodes)
        stack.callback(found.close)
        if count > 1:
            _join(found.clients, [node.port for node in nodes])
        yield found


def _join(clients: Sequence[Any], ports: Sequence[int]) -> None:
    for port in ports[1:]:
        clients[0].execute_command("CLUSTER MEET", HOST, port)
    end = monotonic() + _PATIENCE_SECONDS
    while not all(_knows_all(client, len(ports)) for client in clients):
        if monotonic() > end:
            raise DynamirrorError("the nodes of the cluster did not find each other")
        sleep(0.05)


def _knows_all(client: Any, count: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return bool(
        info["cluster_state"] == "ok"
        and info["cluster_slots_ok"] == str(_SLOTS)
        and info["cluster_size"] == str(count)
    )
