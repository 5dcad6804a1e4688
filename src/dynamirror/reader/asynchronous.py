"""`AsyncReader`: the same calls as coroutines."""

from asyncio import to_thread
from typing import Any, Self

from dynamirror.reader.guarded import Counts
from dynamirror.reader.synchronous import Reader, Response


class AsyncReader:
    """A `Reader` whose calls run on asyncio's threads, so that none holds up the loop.

    Args:
        reader: does the reading; closed with this one.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    async def open(cls, *arguments: Any, **options: Any) -> Self:
        """Make one, with the arguments of `Reader`, which may ask DynamoDB about the table.

        Raises:
            ConfigError: there is no such view, or its entries cannot be found by primary key.
            SourceError: the table cannot be described.
        """
        return cls(await to_thread(Reader, *arguments, **options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections to the cache."""
        await to_thread(self._reader.close)

    @property
    def counts(self) -> Counts:
        """How many look-ups were hits, misses and fallbacks, so far."""
        return self._reader.counts

    async def get_item(self, **arguments: Any) -> Response:
        """As `Reader.get_item`."""
        return await to_thread(self._reader.get_item, **arguments)

    async def batch_get_item(self, **arguments: Any) -> Response:
        """As `Reader.batch_get_item`."""
        return await to_thread(self._reader.batch_get_item, **arguments)

    async def query(self, **arguments: Any) -> Response:
        """As `Reader.query`."""
        return await to_thread(self._reader.query, **arguments)
