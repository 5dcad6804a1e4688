"""Reads under way at once, by coroutines and by threads: `python -m bench.flights`."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from statistics import median
from typing import Any, Final

from bench.results import Sample
from dynamirror.cache.client import Cache
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader import AsyncReader, Reader
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import Schema, ViewSpec

# How many reads are under way.
FLIGHTS: Final = (1, 4, 16, 64, 256)
_PAIRS: Final = 2  # of a figure and its base, in turn

Key = Mapping[str, object]


class Flights:
    """Many reads at once through one reader.

    Args:
        reader: reads from threads; its table and cache are also those of the coroutines.
        keys: of the items.
        reads: how many a sample takes.
    """

    def __init__(self, reader: Reader, keys: Sequence[Key], reads: int) -> None:
        self._runner = asyncio.Runner()
        self._reader = reader
        self._coroutines = AsyncReader(reader)
        self._keys = keys
        self._reads = reads

    def take(self) -> Iterator[Sample]:
        """Take each figure, in items a second."""
        for flights in FLIGHTS:
            share = max(1, self._reads // flights)
            for _ in range(_PAIRS):
                for name, read in (("threads", self._by_threads), ("asyncio", self._by_coroutines)):
                    begin = time.perf_counter()
                    read(flights, share)
                    taken = time.perf_counter() - begin
                    yield Sample(f"read.{name}.{flights}", "items/s", flights * share / taken)

    def _share(self, number: int, share: int) -> Iterator[Key]:
        return islice(cycle(self._keys), number * share, (number + 1) * share)

    def _by_threads(self, flights: int, share: int) -> None:
        def read(number: int) -> None:
            for key in self._share(number, share):
                self._reader.get_item(Key=key)

        with ThreadPoolExecutor(flights) as pool:
            for done in [pool.submit(read, number) for number in range(flights)]:
                done.result()

    def _by_coroutines(self, flights: int, share: int) -> None:
        async def read(number: int) -> None:
            for key in self._share(number, share):
                await self._coroutines.get_item(Key=key)

        async def all_() -> None:
            await asyncio.gather(*map(read, range(flights)))

        self._runner.run(all_())

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._coroutines.close())
        self._runner.close()


def main() -> None:
    """Print how fast coroutines and threads read, and the ratio of each round's two figures."""
    rounds, reads = 5, 3_000
    spec, schema = ViewSpec(encoding=DYNAMODB_JSON), Schema("read", ("pk", "sk"), ("S", "S"))
    view, version = spec.bind(schema), SnapshotVersion(int(time.time()))
    keys = [{"pk": f"p{number % 10}", "sk": f"{number:06d}"} for number in range(1_000)]
    items: list[Any] = [
        {
            **{name: {"S": text} for name, text in key.items()},
            "name": {"S": "Ada Lovelace"},
            "total": {"N": "12.5"},
            "lines": {"L": [{"M": {"id": {"S": f"{line}"}}} for line in range(5)]},
        }
        for key in keys
    ]
    aws = Aws("us-east-1", "http://127.0.0.1:9", ("local", "local"))  # which is never asked
    with EmbeddedValkey(cluster=False) as server:
        cache = Cache(server.settings())
        entries = (entry_of_row(view, item, item, version) for item in items)
        apply(cache, filter(None, entries), fence_ttl=93_600)
        cache.close()
        with Reader(server.settings(), "read", views=[spec], schema=schema, aws=aws) as reader:
            flights = Flights(reader, keys, reads)
            samples = [sample for _ in range(rounds) for sample in flights.take()]
            flights.close()
            assert not reader.counts.misses, reader.counts
    print("under way   threads   asyncio   asyncio/threads")
    for number in FLIGHTS:
        threads, coroutines = (
            [sample.value for sample in samples if sample.name == f"read.{name}.{number}"]
            for name in ("threads", "asyncio")
        )
        ratio = median(above / below for above, below in zip(coroutines, threads, strict=True))
        print(f"{number:9}{median(threads):10.0f}{median(coroutines):10.0f}{ratio:18.2f}")


if __name__ == "__main__":
    main()
