"""Real servers, started once for the whole run."""

from collections.abc import Iterator

import pytest

from dynamirror.cache import Cache
from dynamirror.local.dynamodb import EmbeddedDynamoDB
from dynamirror.local.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey in cluster mode, as ElastiCache Serverless is; emptied by `cache`."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture(scope="session")
def single_valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey without cluster mode."""
    with EmbeddedValkey(cluster=False) as server:
        yield server


@pytest.fixture
def cache(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, empty."""
    cache = Cache(valkey.settings())
    cache.broadcast(b"FLUSHALL")
    yield cache
    cache.close()


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[EmbeddedDynamoDB]:
    """DynamoDB and its streams; tables are told apart by name."""
    with EmbeddedDynamoDB() as server:
        yield server
