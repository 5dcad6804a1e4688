"""The stack's functions and state machines in emulated AWS, beside a real Valkey."""

from collections.abc import Iterator

import pytest
from tests.support.emulated_aws import Cloud, Deployed
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def cloud(valkey: EmbeddedValkey) -> Iterator[Cloud]:
    """Emulated AWS, with the cluster as its cache."""
    made = Cloud(valkey)
    yield made
    made.server.stop()


@pytest.fixture
def deployed(cloud: Cloud, cache: Cache) -> Iterator[Deployed]:
    """A table of its own, and a cache that is empty."""
    assert not list(keys_in(cache, "*"))
    made = cloud.deploy()
    yield made
    made.operations.cache.close()
