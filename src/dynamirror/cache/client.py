"""The cache as its users see it: commands in, answers out."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from dynamirror.cache.answers import Failure, failure_reason
from dynamirror.cache.cluster import Cluster
from dynamirror.cache.connection import AnswerError
from dynamirror.cache.pipeline import PipelinedCall, packed
from dynamirror.cache.scripts import Command, Word
from dynamirror.cache.stored_record import report_damage
from dynamirror.errors import CacheError
from dynamirror.settings import Settings
from dynamirror.views.keyspace import STATE


class Cache:
    """A Valkey cluster or a single Valkey, connected to when first used.

    Safe for use by several threads at once; each call takes connections of its own.

    Args:
        settings: where it is and how to authenticate.
        single: use this one node only, even if it is part of a cluster.
        clock: monotonic seconds.

    Raises:
        ConfigError: a file that the settings name cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        single: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.cluster = Cluster(settings, single=single, clock=clock)
        self.timeout = settings.timeout
        self.max_bytes = settings.max_bytes
        self.first_ecpus = settings.first_ecpus

    def __str__(self) -> str:
        return f"cache {self.cluster.seed}"

    def execute(self, commands: Iterable[Command]) -> list[Any]:
        """Carry out commands; those for one node keep their order.

        The commands are drawn from the iterable while earlier ones are under way. Redirections and
        forgotten scripts are handled, once.

        Returns:
            For each command the server's answer, or a Failure.

        Raises:
            CacheError: no node can be reached, or it refuses the user.
        """
        self.cluster.refresh()
        return PipelinedCall(self.cluster).run(iter(commands))

    def call(self, key: str, *words: Word) -> Any:
        """Carry out one command that concerns one key; returns the server's answer.

        Raises:
            CacheError: it was not carried out.
        """
        return self.execute_one(Command(key.encode(), words))

    def execute_one(self, command: Command) -> Any:
        """Carry out one command; returns the server's answer.

        Raises:
            CacheError: it was not carried out.
        """
        (answer,) = self.execute([command])
        if isinstance(answer, Failure) and answer.code == "WRONGTYPE" and _is_of_state(command):
            # Nobody should have put anything else there: rather replace it than fail for ever.
            report_damage(command.key.decode(), b"", "it has another type, and is deleted")
            remove = Command(command.key, (b"UNLINK", command.key))
            _, answer = self.execute([remove, command])
        if isinstance(answer, Failure):
            raise self.error(answer.reason)
        return answer

    def error(self, reason: str) -> CacheError:
        """Return the error to raise for a Failure; it names the address once."""
        return CacheError(f"{self}: {reason.removeprefix(f'{self.cluster.seed}: ')}")

    def read_one(self, command: Command) -> Any:
        """Carry out one command that only reads, on the shortest path.

        Returns:
            The server's answer, or a Failure.

        Raises:
            CacheError: the node cannot be reached, or it refuses the user.
        """
        cluster = self.cluster
        cluster.refresh()
        node = cluster.node_of(command.key)
        if node is not None:
            try:
                connection = cluster.checkout(node, trusting=True)
                try:
                    connection.send(packed(command.words))
                    answer = connection.read()
                except BaseException:
                    connection.close()
                    raise
                finally:
                    cluster.release(node, connection)
            except (AnswerError, TimeoutError) as error:
                cluster.mark_suspect(node)
                raise CacheError(f"cache {node}: {failure_reason(error)}") from error
            except OSError:
                pass  # the server closed it while it was idle
            else:
                if not isinstance(answer, AnswerError):  # a redirection perhaps
                    return answer
        (answer,) = self.execute([command])
        return answer

    def broadcast(self, *words: Word) -> list[Any]:
        """Carry out a keyless command on every node that holds slots; returns their answers.

        Raises:
            CacheError: a node cannot be reached or refuses.
        """
        self.cluster.refresh(always=True)
        return [self.cluster.call_node(node, *words) for node in self.cluster.nodes]

    def close(self) -> None:
        """Close all connections; those in use when they are released."""
        self.cluster.close()


def _is_of_state(command: Command) -> bool:
    """Return whether a command concerns one key, in which the mirror of a table keeps its state."""
    words = command.words
    if isinstance(words, bytes) or (words[0] == b"EVALSHA" and words[2] != 1):
        return False
    return command.key.startswith(STATE)
