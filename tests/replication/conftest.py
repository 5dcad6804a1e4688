"""The replicator as it is deployed: built from environment variables."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.replication.replicator import Replicator, build
from dynamirror.settings import Settings

Build = Callable[..., Replicator]


@pytest.fixture
def build_replicator(valkey: EmbeddedValkey, cache: Cache) -> Iterator[Build]:
    """Build a replicator for the cluster, which is empty; arguments are environment variables."""
    assert not list(keys_in(cache, "*"))
    with ExitStack() as stack:

        def build_(**env: str) -> Replicator:
            replicator = build(Settings.from_env(valkey.settings().to_env() | env))
            stack.callback(replicator.cache.close)
            return replicator

        yield build_


@pytest.fixture
def replicator(build_replicator: Build) -> Replicator:
    """The replicator with the default view, for the cluster, which is empty."""
    return build_replicator()
