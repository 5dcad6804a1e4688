"""Small batches as deployed: the packaged handler with its logging and metrics, over TLS."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.node import Driven, original
from bench.records import Feed
from bench.results import Sample
from bench.servers import Secure, ServerCpu
from bench.start import DEPLOYED, ISOLATED, deployed_environment

BATCHES = (1, 10, 100)
# Most records of a figure, by records a batch; small, so that a figure and its base are close.
_MOST = {1: 500, 10: 1_000, 100: 2_000}


class Small:
    """The packaged handler and the original's, each in a process of its own.

    Args:
        secure: the cache with TLS.
        records: how many make a figure, at most.
        node: Node.js and the original's bundle; None to leave it out.
        task: the unpacked asset.
        folder: for the events.
    """

    def __init__(
        self,
        secure: Secure,
        records: int,
        node: tuple[Path, Path] | None,
        task: Path,
        folder: Path,
    ) -> None:
        self._stack = ExitStack()
        self._records = {batch: min(most, records) for batch, most in _MOST.items()}
        events = folder / "small.json"
        events.write_text(Feed(max(_MOST.values())).text(0, max(_MOST.values())), encoding="utf-8")
        cpu = ServerCpu(secure.server.port)
        self._stack.callback(cpu.close)
        words = (*ISOLATED, str(DEPLOYED / "drive.py"), str(task), str(events))
        environment = deployed_environment(secure.settings())
        self._ours = self._stack.enter_context(Driven(words, environment, cpu))
        self._theirs = None
        if node is not None:
            self._theirs = self._stack.enter_context(
                original(node, events, secure.port, ca_file=secure.ca_file, cpu=cpu)
            )

    def take(self) -> Iterator[Sample]:
        """Take each figure once; one record a batch is next to the original's way."""
        yield from self._ours.take("deployed.1", self._records[1], 1)
        if self._theirs is not None:
            yield from self._theirs.take("deployed.original", self._records[1])
        for batch in BATCHES[1:]:
            yield from self._ours.take(f"deployed.{batch}", self._records[batch], batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
