"""A cache that lasts through all examples of a property."""

from collections.abc import Iterator

import pytest

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey


@pytest.fixture(scope="module")
def store(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, kept through all examples of a property."""
    cache = Cache(valkey.settings())
    yield cache
    cache.close()
