"""Random writes to the table of a demo."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from time import monotonic, time
from typing import TYPE_CHECKING

from dynamirror.demo.example import Example
from dynamirror.demo.totals import Totals
from dynamirror.functions import simulator

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class RandomWriter:
    """Writes random changes to a table at a steady rate.

    Args:
        client: boto3's dynamodb client.
        table: the table's name.
        example: the items to write; None for those of the simulator.
        rng: the random source.
        ids: the number of different items of the simulator.
        rate: writes per second.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        example: Example | None,
        rng: Random,
        *,
        ids: int,
        rate: float,
    ) -> None:
        self._client = client
        self._table = table
        self._example = example
        self._rng = rng
        self._ids = ids
        self._rate = rate

    def run(self, totals: Totals, stop: threading.Event) -> None:
        """Write, and count the writes, until stopped.

        Raises:
            SourceError: DynamoDB refuses a write.
        """
        begin = monotonic()
        for number, write in enumerate(self._writes()):
            if stop.wait(max(0.0, begin + number / self._rate - monotonic())):
                return
            write()
            totals.written += 1

    def _writes(self) -> Iterator[Callable[[], None]]:
        if self._example:
            for change in self._example.changes(self._rng, time):
                yield partial(change.write, self._client, self._table)
        for operation in simulator.operations(self._rng, ids=self._ids):
            yield partial(simulator.write, self._client, self._table, operation)
