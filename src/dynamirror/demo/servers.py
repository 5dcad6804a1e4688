"""Both servers of a mirror, on this machine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey

Servers = tuple[EmbeddedDynamoDB, EmbeddedValkey]


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Start both servers at the same time, and stop them at the end.

    Raises:
        DynamirrorError: a server did not start.
    """
    with ExitStack() as stack:
        with ThreadPoolExecutor(2) as pool:
            database, cache = pool.submit(EmbeddedDynamoDB), pool.submit(EmbeddedValkey)
        # If one fails to start, the other is stopped.
        for future in (database, cache):
            if not future.exception():
                stack.callback(future.result().stop)
        yield database.result(), cache.result()
