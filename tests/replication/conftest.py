"""The replicator as it is deployed: built from environment variables."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.sandboxes import fresh_logger

from dynamirror import handler as module
from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.replication.replicator import Replicator, build
from dynamirror.settings import Settings

Build = Callable[..., Replicator]


@pytest.fixture
def build_replicator(valkey: EmbeddedValkey, cache: Cache) -> Iterator[Build]:
    """Build a replicator for the cluster, which is empty; arguments are environment variables."""
    assert not list(cache.scan("*"))
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


@pytest.fixture
def lambda_env(
    valkey: EmbeddedValkey, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """A fresh Lambda sandbox whose environment points to the cluster, which is empty."""
    assert not list(cache.scan("*"))
    for name in os.environ:
        if name.startswith(("ELASTICACHE_", "DYNAMIRROR_", "AWS_")):
            monkeypatch.delenv(name)
    env = valkey.settings().to_env()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    module.replicator.cache_clear()
    with fresh_logger():
        yield env
    if module.replicator.cache_info().currsize:
        module.replicator().cache.close()
    module.replicator.cache_clear()
